import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import type { Product } from '../api/types';
import { AddToCart } from '../cart/add-to-cart';
import { useFormat } from '../i18n/format';
import { ProductImage } from '../ui/product-image';
import { Skeleton } from '../ui/skeleton';
import { Stock } from './stock';

export function ProductGrid({ products, eager = 0 }: { products: Product[]; eager?: number }) {
  return (
    <ul className="grid grid-cols-2 gap-3 sm:grid-cols-3 sm:gap-4 lg:grid-cols-4">
      {products.map((product, index) => (
        <li key={product.id}>
          <ProductCard product={product} eager={index < eager} />
        </li>
      ))}
    </ul>
  );
}

function ProductCard({ product, eager }: { product: Product; eager: boolean }) {
  const { t } = useTranslation();
  const { rupees } = useFormat();
  return (
    <article className="relative flex h-full flex-col overflow-hidden card">
      <ProductImage product={product} size={300} eager={eager} className="w-full" />
      <div className="flex grow flex-col gap-1 p-3">
        <h3 className="line-clamp-5 font-medium break-words">
          {/* The whole card is the link's; the button lies above it. */}
          <Link href={`/products/${product.id}`} className="after:absolute after:inset-0">
            {product.name}
          </Link>
        </h3>
        <p className="font-bold wrap-anywhere sm:text-lg">{rupees(product.price)}</p>
        <Stock quantity={product.stock_quantity} />
        <div className="relative mt-auto pt-2">
          <AddToCart product={product} label={t('cart.addNamed', { name: product.name })} />
        </div>
      </div>
    </article>
  );
}

export function ProductGridSkeleton({ count = 8 }: { count?: number }) {
  return (
    <div className="grid grid-cols-2 gap-3 sm:grid-cols-3 sm:gap-4 lg:grid-cols-4">
      {Array.from({ length: count }, (_, index) => (
        <Skeleton key={index} className="aspect-[3/5]" />
      ))}
    </div>
  );
}
