import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { buttonClass } from '../ui/button';
import { Loaded } from '../ui/loaded';
import { Page } from '../ui/page';
import { Skeleton } from '../ui/skeleton';
import { useCategoryName } from './category-name';
import { ProductGrid, ProductGridSkeleton } from './product-card';
import { categoriesQuery, productsQuery } from './queries';

const SHOWN = 8;

export function HomePage() {
  const { t } = useTranslation();
  return (
    <Page title={t('home.title')}>
      <p className="-mt-3 mb-6 max-w-prose text-lg text-muted">{t('home.lead')}</p>
      <Categories />
      <NewProducts />
    </Page>
  );
}

function Categories() {
  const { t } = useTranslation();
  const name = useCategoryName();
  const categories = useQuery(categoriesQuery());
  return (
    <section aria-labelledby="categories" className="mb-8">
      <h2 id="categories" className="mb-3 text-xl font-bold">
        {t('home.categories')}
      </h2>
      <Loaded query={categories} skeleton={<Skeleton className="h-88 sm:h-52 lg:h-34" />}>
        {({ data }) => (
          <ul className="grid grid-cols-2 gap-2 sm:grid-cols-3 lg:grid-cols-5">
            {data.map(({ category, count }) => (
              <li key={category}>
                <Link
                  href={`/products?category=${encodeURIComponent(category)}`}
                  className="flex h-full min-h-16 flex-col justify-center card px-3 py-2 hover:border-brand hover:bg-brand-soft"
                >
                  <span className="font-semibold break-words">{name(category)}</span>
                  <span className="text-sm text-muted">{t('home.products', { count })}</span>
                </Link>
              </li>
            ))}
          </ul>
        )}
      </Loaded>
    </section>
  );
}

function NewProducts() {
  const { t } = useTranslation();
  const products = useQuery(productsQuery({ sort: '-created_at', in_stock: true, limit: SHOWN }));
  return (
    <section aria-labelledby="new">
      <div className="mb-3 flex flex-wrap items-center justify-between gap-2">
        <h2 id="new" className="text-xl font-bold">
          {t('home.new')}
        </h2>
        <Link href="/products" className={buttonClass('plain')}>
          {t('home.all')}
        </Link>
      </div>
      <Loaded query={products} skeleton={<ProductGridSkeleton count={SHOWN} />}>
        {({ data }) => <ProductGrid products={data} />}
      </Loaded>
    </section>
  );
}
