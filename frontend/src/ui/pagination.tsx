import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { buttonClass } from './button';

type Props = { page: number; pages: number; hrefOf: (page: number) => string };

export function Pagination({ page, pages, hrefOf }: Props) {
  const { t } = useTranslation();
  if (pages < 2) return null;
  const toTop = () => window.scrollTo(0, 0);
  return (
    <nav aria-label={t('paging.label')} className="mt-6 flex items-center justify-center gap-3">
      {page > 1 && (
        <Link href={hrefOf(page - 1)} onClick={toTop} className={buttonClass('secondary')}>
          {t('paging.previous')}
        </Link>
      )}
      <span>{t('paging.position', { page, pages })}</span>
      {page < pages && (
        <Link href={hrefOf(page + 1)} onClick={toTop} className={buttonClass('secondary')}>
          {t('paging.next')}
        </Link>
      )}
    </nav>
  );
}
