import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { Link, useSearchParams } from 'wouter';
import { buttonClass } from '../ui/button';
import { Loaded } from '../ui/loaded';
import { Page } from '../ui/page';
import { Pagination } from '../ui/pagination';
import { useCategoryName } from './category-name';
import { listingOf, PAGE_SIZE, paramsOf, requestOf, type Listing } from './filter';
import { FilterForm } from './filter-form';
import { ProductGrid, ProductGridSkeleton } from './product-card';
import { productsQuery } from './queries';

export function CataloguePage() {
  const { t } = useTranslation();
  const name = useCategoryName();
  const [params, setParams] = useSearchParams();
  const listing = listingOf(params);
  const products = useQuery(productsQuery(requestOf(listing)));
  const title = listing.search
    ? t('catalogue.found', { search: listing.search })
    : listing.category
      ? name(listing.category)
      : t('catalogue.title');

  return (
    <Page title={title}>
      <div className="grid gap-6 lg:grid-cols-[16rem_1fr]">
        <FilterForm
          listing={listing}
          onChange={(next) => setParams(paramsOf({ ...next, page: 1 }))}
        />
        <section aria-labelledby="results" aria-busy={products.isPlaceholderData}>
          <h2 id="results" className="sr-only">
            {t('catalogue.results')}
          </h2>
          <Loaded query={products} skeleton={<ProductGridSkeleton count={12} />}>
            {({ data, count }) =>
              data.length === 0 ? (
                <Nothing />
              ) : (
                <>
                  <p role="status" className="mb-3 text-muted">
                    {t('catalogue.count', { count })}
                  </p>
                  <ProductGrid products={data} eager={4} />
                  <Pagination
                    page={listing.page}
                    pages={Math.ceil(count / PAGE_SIZE)}
                    hrefOf={(page) => addressOf({ ...listing, page })}
                  />
                </>
              )
            }
          </Loaded>
        </section>
      </div>
    </Page>
  );
}

function addressOf(listing: Listing): string {
  const params = paramsOf(listing).toString();
  return params ? `/products?${params}` : '/products';
}

function Nothing() {
  const { t } = useTranslation();
  return (
    <div role="status" className="card px-4 py-12 text-center">
      <p className="mb-3 text-lg">{t('catalogue.nothing')}</p>
      <Link href="/products" className={buttonClass('secondary')}>
        {t('catalogue.showAll')}
      </Link>
    </div>
  );
}
