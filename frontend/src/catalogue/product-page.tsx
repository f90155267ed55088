import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { asProblem } from '../api/problem';
import type { Product } from '../api/types';
import { AddToCart } from '../cart/add-to-cart';
import { useFormat } from '../i18n/format';
import { NotFoundPage } from '../layout/not-found-page';
import { Loaded } from '../ui/loaded';
import { Page } from '../ui/page';
import { ProductImage } from '../ui/product-image';
import { Skeleton } from '../ui/skeleton';
import { useCategoryName } from './category-name';
import { productQuery } from './queries';
import { Stock } from './stock';

export function ProductPage({ id }: { id: string }) {
  const product = useQuery(productQuery(id));
  // An id that cannot be one is refused (400), which is the same to whoever followed a broken link.
  const missing = product.isError && [400, 404].includes(asProblem(product.error).status);
  if (missing) return <NotFoundPage />;
  return (
    <div className="mx-auto w-full max-w-6xl">
      <Loaded query={product} skeleton={<ProductSkeleton />}>
        {(data) => <Details product={data} />}
      </Loaded>
    </div>
  );
}

function Details({ product }: { product: Product }) {
  const { t } = useTranslation();
  const { rupees } = useFormat();
  const name = useCategoryName();
  return (
    <Page title={product.name}>
      <div className="grid gap-6 md:grid-cols-2">
        <ProductImage product={product} size={600} eager className="w-full card" />
        <div className="grid h-fit gap-4">
          <p className="text-3xl font-bold">{rupees(product.price)}</p>
          <Stock quantity={product.stock_quantity} />
          {product.description && (
            <p className="max-w-prose whitespace-pre-line">{product.description}</p>
          )}
          <AddToCart product={product} label={t('cart.add')} />
          <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-sm text-muted">
            {product.category && (
              <>
                <dt>{t('product.category')}</dt>
                <dd>
                  <Link
                    href={`/products?category=${encodeURIComponent(product.category)}`}
                    className="text-brand underline underline-offset-2"
                  >
                    {name(product.category)}
                  </Link>
                </dd>
              </>
            )}
            {product.sku && (
              <>
                <dt>{t('product.sku')}</dt>
                <dd>{product.sku}</dd>
              </>
            )}
          </dl>
        </div>
      </div>
    </Page>
  );
}

function ProductSkeleton() {
  return (
    <div className="grid gap-6 px-4 py-6 md:grid-cols-2">
      <Skeleton className="aspect-square" />
      <Skeleton className="h-64" />
    </div>
  );
}
