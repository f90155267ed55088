import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import type { OrderDetails } from '../api/types';
import { useFormat } from '../i18n/format';
import { lineTotal } from '../lib/money';
import { ProductImage } from '../ui/product-image';

export function Items({ order }: { order: OrderDetails }) {
  const { t } = useTranslation();
  const { rupees } = useFormat();
  return (
    <section aria-labelledby="items" className="card p-4">
      <h2 id="items" className="mb-3 text-lg font-bold">
        {t('order.items')}
      </h2>
      <ul className="grid gap-3">
        {order.items.map((item) => (
          <li key={item.id} className="grid grid-cols-[3rem_1fr_auto] items-center gap-3">
            <ProductImage product={item.products} size={48} className="w-full rounded-md" />
            <div className="min-w-0">
              <Link href={`/products/${item.product_id}`} className="font-medium break-words">
                {item.products.name}
              </Link>
              <p className="text-sm text-muted">
                {t('order.quantity', { count: item.quantity, price: rupees(item.unit_price) })}
              </p>
            </div>
            <p className="font-semibold">{rupees(lineTotal(item.unit_price, item.quantity))}</p>
          </li>
        ))}
      </ul>
      <p className="mt-3 flex justify-between border-t border-line pt-3 text-lg font-bold">
        <span>{t('cart.total')}</span>
        <span>{rupees(order.total_amount)}</span>
      </p>
    </section>
  );
}
