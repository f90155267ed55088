import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { api, read } from '../../api/client';
import type { Product } from '../../api/types';
import { buttonClass } from '../../ui/button';
import { Page } from '../../ui/page';
import { ConfirmButton } from '../../ui/confirm-button';
import { List } from '../ui/list';
import { requestOf, useListing } from '../ui/listing';
import { refresh } from '../ui/refresh';
import { SearchForm } from '../ui/search-form';
import type { Column } from '../ui/table';
import { useProductColumns } from './columns';
import { offSaleQuery } from './queries';

const FILTERS = ['search'] as const;

/** What was taken off sale, and the way back. */
export function OffSalePage() {
  const { t } = useTranslation('admin');
  const list = useListing(FILTERS);
  const products = useQuery(offSaleQuery(requestOf(list)));
  return (
    <Page
      title={t('products.offSaleTitle')}
      aside={
        <Link href="/admin/products" className={buttonClass('secondary')}>
          {t('products.onSaleTitle')}
        </Link>
      }
    >
      <div className="mb-5 max-w-xl">
        <SearchForm
          key={list.key}
          label={t('products.search')}
          value={list.filters.search}
          onSearch={(search) => list.narrow({ search })}
        />
      </div>
      <List
        query={products}
        caption={t('products.offSaleTitle')}
        columns={useColumns()}
        keyOf={({ id }) => id}
        empty={t(list.isFiltered ? 'list.noMatch' : 'products.noneOffSale')}
        page={list.page}
        hrefOf={list.hrefOf}
      />
    </Page>
  );
}

function useColumns(): Column<Product>[] {
  const { t } = useTranslation('admin');
  return [
    ...useProductColumns(({ name }) => name),
    { header: t('list.actions'), cell: (product) => <Restore product={product} /> },
  ];
}

function Restore({ product: { id, name } }: { product: Product }) {
  const { t } = useTranslation('admin');
  return (
    <ConfirmButton
      look="plain"
      label={t('products.restore.do')}
      accessibleLabel={`${t('products.restore.do')}: ${name}`}
      title={t('products.restore.title', { name })}
      text={t('products.restore.text')}
      confirm={t('products.restore.do')}
      action={async () => {
        await read(api.POST('/api/products/{id}/restore', { params: { path: { id } } }));
        await refresh();
      }}
    />
  );
}
