import { useInfiniteQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import type { Order } from '../api/types';
import { useFormat } from '../i18n/format';
import { useUser } from '../session/session';
import { Button, buttonClass } from '../ui/button';
import { Loaded } from '../ui/loaded';
import { Page } from '../ui/page';
import { SkeletonRows } from '../ui/skeleton';
import { orderName } from './order-name';
import { ordersQuery } from './queries';
import { StatusBadge } from './status';

export function OrdersPage() {
  const { t } = useTranslation();
  const user = useUser();
  const orders = useInfiniteQuery(ordersQuery(user?.id ?? ''));
  return (
    <Page title={t('orders.title')}>
      <Loaded query={orders} skeleton={<SkeletonRows />}>
        {({ pages }) => <OrderList orders={pages.flatMap(({ data }) => data)} />}
      </Loaded>
      {orders.hasNextPage && (
        <Button
          look="secondary"
          className="mt-4"
          busy={orders.isFetchingNextPage}
          onClick={() => void orders.fetchNextPage()}
        >
          {t('orders.more')}
        </Button>
      )}
    </Page>
  );
}

function OrderList({ orders }: { orders: Order[] }) {
  const { t } = useTranslation();
  const { rupees, dateTime } = useFormat();
  if (orders.length === 0) {
    return (
      <div className="card px-4 py-12 text-center">
        <p className="mb-4 text-lg">{t('orders.empty')}</p>
        <Link href="/products" className={buttonClass()}>
          {t('orders.start')}
        </Link>
      </div>
    );
  }
  return (
    <ul className="grid gap-3">
      {orders.map((order) => (
        <li
          key={order.id}
          className="relative flex flex-wrap items-center justify-between gap-2 card p-4 hover:border-brand"
        >
          <div>
            <Link
              href={`/orders/${order.id}`}
              className="font-semibold after:absolute after:inset-0"
            >
              {t('orders.number', { id: orderName(order.id) })}
            </Link>
            <p className="text-sm text-muted">
              {t('orders.placed', { date: dateTime(order.created_at) })}
            </p>
          </div>
          <div className="flex flex-wrap items-center gap-3">
            <StatusBadge order={order} />
            <span className="font-bold">{rupees(order.total_amount)}</span>
          </div>
        </li>
      ))}
    </ul>
  );
}
