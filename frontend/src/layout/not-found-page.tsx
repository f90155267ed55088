import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { buttonClass } from '../ui/button';
import { Page } from '../ui/page';

export function NotFoundPage() {
  const { t } = useTranslation();
  return (
    <Page title={t('notFound.title')} width="narrow">
      <p className="mb-4">{t('notFound.text')}</p>
      <Link href="/products" className={buttonClass()}>
        {t('catalogue.title')}
      </Link>
    </Page>
  );
}
