import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import type { CheckedLine } from '../cart/checked-cart';
import { useFormat } from '../i18n/format';
import { lineTotal } from '../lib/money';
import { buttonClass } from '../ui/button';
import { Notice } from '../ui/notice';

type Props = { lines: CheckedLine[]; total: number; isOrderable: boolean };

export function Summary({ lines, total, isOrderable }: Props) {
  const { t } = useTranslation();
  const { rupees } = useFormat();
  return (
    <section aria-labelledby="summary" className="grid gap-3 card p-4">
      <h2 id="summary" className="text-lg font-bold">
        {t('checkout.summary')}
      </h2>
      <ul className="grid gap-2 text-sm">
        {lines.map((line) => (
          <li key={line.product_id} className="flex justify-between gap-3">
            <span className="min-w-0 break-words">
              {line.quantity} × {line.product?.name ?? line.name}
            </span>
            <span className="font-medium">
              {rupees(lineTotal(line.currentPrice, line.quantity))}
            </span>
          </li>
        ))}
      </ul>
      <p className="flex justify-between border-t border-line pt-3 text-lg font-bold">
        <span>{t('cart.total')}</span>
        <span>{rupees(total)}</span>
      </p>
      {!isOrderable && <Notice tone="warning">{t('cart.blocked')}</Notice>}
      <Link href="/cart" className={buttonClass('plain')}>
        {t('checkout.editCart')}
      </Link>
    </section>
  );
}
