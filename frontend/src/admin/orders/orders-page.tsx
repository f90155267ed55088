import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { Link, useLocation } from 'wouter';
import type { Order } from '../../api/types';
import { useFormat } from '../../i18n/format';
import { Button } from '../../ui/button';
import { orderName } from '../../orders/order-name';
import { Page } from '../../ui/page';
import { CustomerName } from '../customers/customer-name';
import { List } from '../ui/list';
import { oneOf, requestOf, useListing } from '../ui/listing';
import { SearchForm } from '../ui/search-form';
import { Select } from '../ui/select';
import { shortId } from '../ui/short-id';
import type { Column } from '../ui/table';
import { DaysForm } from './days-form';
import { ExportForm } from './export-form';
import { FILTERS, SORTS, isOrderNumber, ordersOf } from './filter';
import { ordersQuery } from './queries';
import { StatusBadge } from './status-badge';
import { ORDER_STATUSES } from './transitions';

export function OrdersPage() {
  const { t } = useTranslation('admin');
  const list = useListing(FILTERS);
  const filter = ordersOf(list.filters);
  const { limit, offset } = requestOf(list);
  const sort = oneOf(SORTS, list.filters.sort) ?? SORTS[0];
  const orders = useQuery(ordersQuery({ ...filter, sort, limit, offset }));
  const { from, to, user_id: user } = list.filters;

  return (
    <Page title={t('orders.title')}>
      <div className="mb-5 grid items-end gap-3 sm:grid-cols-2 lg:grid-cols-3">
        <Select
          label={t('orders.status')}
          value={filter.status ?? ''}
          onChange={(event) => list.narrow({ status: event.target.value })}
        >
          <option value="">{t('list.all')}</option>
          {ORDER_STATUSES.map((each) => (
            <option key={each} value={each}>
              {t(`status.${each}`)}
            </option>
          ))}
        </Select>
        <Select
          label={t('list.sort')}
          value={sort}
          onChange={(event) => list.narrow({ sort: event.target.value })}
        >
          {SORTS.map((each) => (
            <option key={each} value={each}>
              {t(`products.sort.${each}`)}
            </option>
          ))}
        </Select>
        <FindOrder
          key={list.key}
          number={list.filters.number}
          onNumber={(number) => list.narrow({ number })}
        />
        <div className="self-start sm:col-span-2 lg:col-span-3">
          <DaysForm key={list.key} from={from} to={to} onChange={list.narrow} />
        </div>
        {user && (
          <p className="flex flex-wrap items-center gap-x-3">
            <span className="[overflow-wrap:anywhere]">
              <CustomerName id={user} />
            </span>
            <Button look="plain" onClick={() => list.narrow({ user_id: '' })}>
              {t('orders.ofAll')}
            </Button>
          </p>
        )}
      </div>
      <List
        query={orders}
        caption={t('orders.title')}
        columns={useColumns()}
        keyOf={({ id }) => id}
        empty={t(list.isFiltered ? 'list.noMatch' : 'orders.empty')}
        page={list.page}
        hrefOf={list.hrefOf}
      />
      <ExportForm filter={filter} />
    </Page>
  );
}

function useColumns(): Column<Order>[] {
  const { t } = useTranslation('admin');
  const { t: shop } = useTranslation();
  const { rupees, dateTime } = useFormat();
  return [
    {
      header: t('orders.number'),
      cell: ({ id }) => (
        <Link href={`/admin/orders/${id}`} className="text-brand underline underline-offset-2">
          {orderName(id)}
        </Link>
      ),
    },
    { header: t('orders.placed'), cell: ({ created_at }) => dateTime(created_at), whole: true },
    {
      header: t('orders.status'),
      cell: ({ status }) => <StatusBadge status={status} />,
      whole: true,
    },
    {
      header: t('orders.method'),
      cell: ({ payment_method }) => (payment_method ? shop(`method.${payment_method}`) : '–'),
    },
    {
      header: t('orders.total'),
      cell: ({ total_amount }) => rupees(total_amount),
      numeric: true,
    },
    {
      header: t('orders.customer'),
      cell: ({ user_id }) => (
        <Link
          href={`/admin/orders?user_id=${user_id}`}
          className="text-brand underline underline-offset-2"
          aria-label={t('orders.ofCustomer', { id: shortId(user_id) })}
        >
          {shortId(user_id)}
        </Link>
      ),
    },
  ];
}

type FindOrderProps = { number: string; onNumber: (number: string) => void };

/** Customers quote the number that they see; tools have whole ids. */
function FindOrder({ number, onNumber }: FindOrderProps) {
  const { t } = useTranslation('admin');
  const [, navigate] = useLocation();
  return (
    <SearchForm
      label={t('orders.find')}
      value={number}
      button={t('orders.open')}
      onSearch={(text) => {
        if (text === '' || isOrderNumber(text)) onNumber(text);
        else navigate(`/admin/orders/${encodeURIComponent(text)}`);
      }}
    />
  );
}
