import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { useFormat } from '../i18n/format';
import { lineTotal } from '../lib/money';
import { Button } from '../ui/button';
import { ProductImage } from '../ui/product-image';
import { cart, MOST } from './cart';
import type { CheckedLine } from './checked-cart';

export function CartRow({ line }: { line: CheckedLine }) {
  const { t } = useTranslation();
  const { rupees } = useFormat();
  return (
    <li className="grid grid-cols-[4.5rem_1fr] gap-3 card p-3 sm:grid-cols-[6rem_1fr]">
      <ProductImage
        product={line.product ?? { id: line.product_id, image_url: line.image_url }}
        size={96}
        className="w-full rounded-lg"
      />
      <div className="grid gap-2">
        <div className="flex flex-wrap justify-between gap-x-4">
          <Link href={`/products/${line.product_id}`} className="font-medium break-words">
            {line.product?.name ?? line.name}
          </Link>
          <p className="font-bold">{rupees(lineTotal(line.currentPrice, line.quantity))}</p>
        </div>
        <p className="text-sm text-muted">{t('cart.each', { price: rupees(line.currentPrice) })}</p>
        <PriceChange line={line} />
        <Obstacle line={line} />
        <div className="flex flex-wrap items-center gap-3">
          <Quantity line={line} />
          <Button
            look="plain"
            aria-label={t('cart.removeNamed', { name: line.name })}
            onClick={() => cart.remove(line.product_id)}
          >
            {t('cart.remove')}
          </Button>
        </div>
      </div>
    </li>
  );
}

function Quantity({ line }: { line: CheckedLine }) {
  const { t } = useTranslation();
  const most = Math.min(line.product?.stock_quantity ?? MOST, MOST);
  const step = (by: number) => cart.setQuantity(line.product_id, line.quantity + by);
  const square = 'size-11 text-xl font-bold text-brand disabled:text-muted';
  return (
    <div
      role="group"
      aria-label={t('cart.quantityOf', { name: line.name })}
      className="flex items-center rounded-lg border border-[#95837a]"
    >
      <button
        type="button"
        className={square}
        aria-label={t('cart.fewer', { name: line.name })}
        disabled={line.quantity <= 1}
        onClick={() => step(-1)}
      >
        −
      </button>
      <span role="status" className="min-w-8 text-center font-semibold">
        {line.quantity}
      </span>
      <button
        type="button"
        className={square}
        aria-label={t('cart.more', { name: line.name })}
        disabled={line.quantity >= most}
        onClick={() => step(1)}
      >
        +
      </button>
    </div>
  );
}

function PriceChange({ line }: { line: CheckedLine }) {
  const { t } = useTranslation();
  const { rupees } = useFormat();
  if (line.currentPrice === line.price) return null;
  const change = { old: rupees(line.price), now: rupees(line.currentPrice) };
  return (
    <p role="status" className="flex flex-wrap items-center gap-x-3 font-medium text-warn">
      {line.currentPrice > line.price ? t('cart.priceUp', change) : t('cart.priceDown', change)}
      <Button look="plain" onClick={() => cart.acceptPrice(line.product_id, line.currentPrice)}>
        {t('cart.priceOk')}
      </Button>
    </p>
  );
}

function Obstacle({ line }: { line: CheckedLine }) {
  const { t } = useTranslation();
  if (line.obstacle === null) return null;
  if (line.obstacle !== 'short') {
    return (
      <p role="status" className="font-medium text-danger">
        {t(`cart.${line.obstacle}`)}
      </p>
    );
  }
  const left = line.product?.stock_quantity ?? 0;
  return (
    <p role="status" className="flex flex-wrap items-center gap-x-3 font-medium text-danger">
      {t('cart.short', { count: left })}
      <Button look="plain" onClick={() => cart.setQuantity(line.product_id, left)}>
        {t('cart.take', { count: left })}
      </Button>
    </p>
  );
}
