import { useTranslation } from 'react-i18next';

const FEW = 10;

export function Stock({ quantity }: { quantity: number }) {
  const { t } = useTranslation();
  if (quantity === 0) return <p className="text-sm font-medium text-danger">{t('stock.none')}</p>;
  if (quantity <= FEW) {
    return <p className="text-sm font-medium text-warn">{t('stock.few', { count: quantity })}</p>;
  }
  return <p className="text-sm font-medium text-leaf">{t('stock.available')}</p>;
}
