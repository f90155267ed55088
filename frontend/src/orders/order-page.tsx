import { useQuery } from '@tanstack/react-query';
import { lazy, Suspense } from 'react';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { asProblem } from '../api/problem';
import type { OrderDetails } from '../api/types';
import { load } from '../connection/load';
import { useFormat } from '../i18n/format';
import { NotFoundPage } from '../layout/not-found-page';
import { buttonClass } from '../ui/button';
import { Loaded } from '../ui/loaded';
import { Notice } from '../ui/notice';
import { Page } from '../ui/page';
import { SkeletonRows } from '../ui/skeleton';
import { History } from './history';
import { isPayable } from './payable';
import { orderName } from './order-name';
import { orderQuery } from './queries';
import { StatusBadge } from './status';
import { useOrderEvents } from './use-order-events';
import type { Following, OrderEvent } from './follow';
import { Items } from './items';

const CancelOrder = lazy(async () => ({
  default: (await load(() => import('./cancel-order'))).CancelOrder,
}));

export function OrderPage({ id }: { id: string }) {
  const order = useQuery(orderQuery(id));
  const { events, state } = useOrderEvents(id);
  if (order.isError && [400, 404].includes(asProblem(order.error).status)) return <NotFoundPage />;
  return (
    <div className="mx-auto w-full max-w-6xl">
      <Loaded query={order} skeleton={<SkeletonRows />}>
        {(data) => <Details order={withEvents(data, events)} following={state} />}
      </Loaded>
    </div>
  );
}

/** The stream is ahead of what was read, which may come from a replica. */
export function withEvents(order: OrderDetails, events: OrderEvent[]): OrderDetails {
  const known = new Set(order.history.map(({ id }) => id));
  const history = [...order.history, ...events.filter(({ id }) => !known.has(id))];
  const last = history.at(-1);
  return { ...order, history, status: last?.to_status ?? order.status };
}

function Details({ order, following }: { order: OrderDetails; following: Following }) {
  const { t } = useTranslation();
  const { dateTime } = useFormat();
  const cancellable =
    order.status === 'pending' ||
    order.status === 'processing' ||
    order.status === 'payment_failed';
  return (
    <Page
      title={t('order.title', { id: orderName(order.id) })}
      aside={<StatusBadge order={order} />}
    >
      <p className="-mt-3 mb-4 text-muted">
        {t('orders.placed', { date: dateTime(order.created_at) })}
      </p>
      <div className="grid items-start gap-6 lg:grid-cols-2">
        <section aria-labelledby="history" className="grid gap-4 card p-4">
          <h2 id="history" className="text-lg font-bold">
            {t('order.history')}
          </h2>
          <History order={order} />
          <FollowingNote state={following} />
          <div className="flex flex-wrap gap-3">
            {isPayable(order) && (
              <Link href={`/orders/${order.id}/payment`} className={buttonClass()}>
                {t('order.pay')}
              </Link>
            )}
            {cancellable && (
              <Suspense fallback={null}>
                <CancelOrder id={order.id} />
              </Suspense>
            )}
          </div>
        </section>
        <div className="grid gap-4">
          <Items order={order} />
          <section className="card p-4">
            <h2 className="mb-1 font-bold">{t('order.address')}</h2>
            <p className="break-words whitespace-pre-line">{order.shipping_address}</p>
          </section>
          {order.payment && (
            <section className="card p-4">
              <h2 className="mb-1 font-bold">{t('order.payment')}</h2>
              <p>
                {t(`method.${order.payment.payment_method}`)} ·{' '}
                {t(`paymentStatus.${order.payment.status}`)}
              </p>
            </section>
          )}
        </div>
      </div>
    </Page>
  );
}

function FollowingNote({ state }: { state: Following }) {
  const { t } = useTranslation();
  if (state === 'live') return <p className="text-sm text-leaf">● {t('order.live')}</p>;
  if (state === 'ended') return <p className="text-sm text-muted">{t('order.ended')}</p>;
  if (state === 'reconnecting') {
    return (
      <Notice tone="warning" live>
        {t('order.reconnecting')}
      </Notice>
    );
  }
  return null;
}
