import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { useFormat } from '../i18n/format';
import { buttonClass } from '../ui/button';
import { Notice } from '../ui/notice';
import { Page } from '../ui/page';
import { CartRow } from './cart-row';
import { useCheckedCart } from './checked-cart';

export function CartPage() {
  const { t } = useTranslation();
  const { rupees } = useFormat();
  const { lines, total, isOrderable, isChecked } = useCheckedCart();

  if (lines.length === 0) {
    return (
      <Page title={t('cart.title')}>
        <div className="card px-4 py-12 text-center">
          <p className="mb-4 text-lg">{t('cart.empty')}</p>
          <Link href="/products" className={buttonClass()}>
            {t('orders.start')}
          </Link>
        </div>
      </Page>
    );
  }
  return (
    <Page title={t('cart.title')}>
      <div className="grid items-start gap-6 lg:grid-cols-[1fr_20rem]">
        <ul className="grid gap-3">
          {lines.map((line) => (
            <CartRow key={line.product_id} line={line} />
          ))}
        </ul>
        <section aria-label={t('cart.total')} className="grid gap-3 card p-4">
          <p className="flex justify-between text-xl font-bold">
            <span>{t('cart.total')}</span>
            <span>{rupees(total)}</span>
          </p>
          <p className="text-sm text-muted">{t('cart.delivery')}</p>
          {!isOrderable && <Notice tone="warning">{t('cart.blocked')}</Notice>}
          {isOrderable && !isChecked && <p className="text-sm text-muted">{t('cart.unchecked')}</p>}
          {isOrderable && (
            <Link href="/checkout" className={buttonClass()}>
              {t('cart.checkout')}
            </Link>
          )}
        </section>
      </div>
    </Page>
  );
}
