import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import type { Product } from '../../api/types';
import { useCategoryName } from '../../catalogue/category-name';
import { categoriesQuery } from '../../catalogue/queries';
import { buttonClass } from '../../ui/button';
import { Page } from '../../ui/page';
import { List } from '../ui/list';
import { oneOf, requestOf, useListing } from '../ui/listing';
import { SearchForm } from '../ui/search-form';
import { Select } from '../ui/select';
import { useProductColumns } from './columns';
import { productsQuery } from './queries';

const SORTS = ['name', '-name', 'price', '-price', 'created_at', '-created_at'] as const;
const FILTERS = ['search', 'category', 'in_stock', 'sort'] as const;

export function ProductsPage() {
  const { t } = useTranslation('admin');
  const list = useListing(FILTERS);
  const { in_stock, sort, ...rest } = requestOf(list);
  const order = oneOf(SORTS, sort ?? '');
  const products = useQuery(
    productsQuery({
      ...rest,
      ...(in_stock && { in_stock: in_stock === 'true' }),
      ...(order && { sort: order }),
    }),
  );

  return (
    <Page
      title={t('products.title')}
      aside={
        <div className="flex flex-wrap gap-3">
          <Link href="/admin/products/off-sale" className={buttonClass('secondary')}>
            {t('products.offSaleTitle')}
          </Link>
          <Link href="/admin/products/import" className={buttonClass('secondary')}>
            {t('products.import')}
          </Link>
          <Link href="/admin/products/new" className={buttonClass()}>
            {t('products.new')}
          </Link>
        </div>
      }
    >
      <Filters list={list} />
      <List
        query={products}
        caption={t('products.title')}
        columns={useProductColumns((product) => (
          <ProductLink product={product} />
        ))}
        keyOf={({ id }) => id}
        empty={t(list.isFiltered ? 'list.noMatch' : 'products.empty')}
        page={list.page}
        hrefOf={list.hrefOf}
      />
    </Page>
  );
}

function ProductLink({ product: { id, name } }: { product: Product }) {
  return (
    <Link href={`/admin/products/${id}`} className="text-brand underline underline-offset-2">
      {name}
    </Link>
  );
}

function Filters({ list }: { list: ReturnType<typeof useListing<(typeof FILTERS)[number]>> }) {
  const { t } = useTranslation('admin');
  const category = useCategoryName();
  const { data } = useQuery(categoriesQuery());
  const { filters, narrow } = list;

  return (
    <div className="mb-5 grid items-end gap-3 sm:grid-cols-2 lg:grid-cols-[2fr_1fr_1fr_1fr]">
      <SearchForm
        key={list.key}
        label={t('products.search')}
        value={filters.search}
        onSearch={(search) => narrow({ search })}
      />
      <Select
        label={t('products.category')}
        value={filters.category}
        onChange={(event) => narrow({ category: event.target.value })}
      >
        <option value="">{t('list.all')}</option>
        {data?.data.map((each) => (
          <option key={each.category} value={each.category}>
            {category(each.category)}
          </option>
        ))}
      </Select>
      <Select
        label={t('products.stock')}
        value={filters.in_stock}
        onChange={(event) => narrow({ in_stock: event.target.value })}
      >
        <option value="">{t('list.all')}</option>
        <option value="true">{t('products.inStock')}</option>
        <option value="false">{t('products.soldOut')}</option>
      </Select>
      <Select
        label={t('list.sort')}
        value={filters.sort || 'name'}
        onChange={(event) => narrow({ sort: event.target.value })}
      >
        {SORTS.map((sort) => (
          <option key={sort} value={sort}>
            {t(`products.sort.${sort}`)}
          </option>
        ))}
      </Select>
    </div>
  );
}
