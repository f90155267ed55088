import { useMutation, useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { api, read } from '../../api/client';
import { asProblem } from '../../api/problem';
import type { OrderDetails, OrderStatus, Payment } from '../../api/types';
import { useFormat } from '../../i18n/format';
import { NotFoundPage } from '../../layout/not-found-page';
import { lineTotal } from '../../lib/money';
import { orderName } from '../../orders/order-name';
import { Button } from '../../ui/button';
import { Loaded } from '../../ui/loaded';
import { Page } from '../../ui/page';
import { SkeletonRows } from '../../ui/skeleton';
import { Trouble } from '../../ui/trouble';
import { ConfirmButton } from '../../ui/confirm-button';
import { refresh } from '../ui/refresh';
import { Section } from '../ui/section';
import { Table } from '../ui/table';
import { orderQuery } from './queries';
import { PaymentBadge, StatusBadge } from './status-badge';
import { nextOf, nextOfPayment } from './transitions';

const LINK = 'text-brand underline underline-offset-2';

export function OrderPage({ id }: { id: string }) {
  const { t } = useTranslation('admin');
  const order = useQuery(orderQuery(id));
  if (order.isError && [400, 404].includes(asProblem(order.error).status)) return <NotFoundPage />;
  return (
    <Page title={t('order.title', { id: orderName(id) })}>
      <Loaded query={order} skeleton={<SkeletonRows rows={5} />}>
        {(data) => (
          <div className="grid items-start gap-5 lg:grid-cols-[1fr_20rem]">
            <div className="grid gap-5">
              <Standing order={data} />
              <Items order={data} />
              <History order={data} />
            </div>
            <div className="grid gap-5">
              {data.payment && <PaymentSection payment={data.payment} />}
              <Customer order={data} />
            </div>
          </div>
        )}
      </Loaded>
    </Page>
  );
}

async function changeStatus(id: string, status: OrderStatus) {
  await read(api.PATCH('/api/orders/{id}/status', { params: { path: { id } }, body: { status } }));
  await refresh();
}

/** Where the order stands, and where it may go from there. */
function Standing({ order }: { order: OrderDetails }) {
  const { t } = useTranslation('admin');
  const { dateTime } = useFormat();
  const change = useMutation({
    mutationFn: (status: OrderStatus) => changeStatus(order.id, status),
    // Somebody else may have been quicker: what is possible now is shown.
    onError: () => void refresh(),
  });
  const next = nextOf(order.status);
  return (
    <Section title={t('order.standing')}>
      <p className="mb-4 flex flex-wrap items-center gap-3" role="status">
        <StatusBadge status={order.status} />
        <span className="text-muted">{dateTime(order.updated_at)}</span>
      </p>
      {next.length === 0 ? (
        <p>{t('order.final')}</p>
      ) : (
        <div className="flex flex-wrap gap-3">
          {next.map((status) =>
            status === 'cancelled' ? (
              <ConfirmButton
                key={status}
                label={t('order.to.cancelled')}
                title={t('order.cancelTitle', { id: orderName(order.id) })}
                text={t('order.cancelText')}
                confirm={t('order.cancelYes')}
                action={() => changeStatus(order.id, status)}
              />
            ) : (
              <Button
                key={status}
                look="secondary"
                busy={change.isPending && change.variables === status}
                onClick={() => {
                  if (!change.isPending) change.mutate(status);
                }}
              >
                {t(`order.to.${status}`)}
              </Button>
            ),
          )}
        </div>
      )}
      {change.error && (
        <div className="mt-4">
          <Trouble
            problem={asProblem(change.error)}
            failures={change.failureCount}
            onRetry={() => change.mutate(change.variables)}
          />
        </div>
      )}
    </Section>
  );
}

function Items({ order }: { order: OrderDetails }) {
  const { t } = useTranslation('admin');
  const { rupees } = useFormat();
  return (
    <section aria-labelledby="items">
      <h2 id="items" className="mb-2 text-lg font-bold">
        {t('order.items')}
      </h2>
      <Table
        caption={t('order.items')}
        rows={order.items}
        keyOf={({ id }) => id}
        columns={[
          {
            header: t('products.name'),
            cell: ({ product_id, products }) => (
              <Link href={`/admin/products/${product_id}`} className={LINK}>
                {products.name}
              </Link>
            ),
          },
          { header: t('products.sku'), cell: ({ products }) => products.sku ?? '–' },
          { header: t('order.quantity'), cell: ({ quantity }) => quantity, numeric: true },
          {
            header: t('order.unitPrice'),
            cell: ({ unit_price }) => rupees(unit_price),
            numeric: true,
          },
          {
            header: t('orders.total'),
            cell: ({ unit_price, quantity }) => rupees(lineTotal(unit_price, quantity)),
            numeric: true,
          },
        ]}
      />
      <p className="mt-2 flex justify-between px-4 text-lg font-bold md:px-3">
        <span>{t('orders.total')}</span>
        <span>{rupees(order.total_amount)}</span>
      </p>
    </section>
  );
}

function History({ order }: { order: OrderDetails }) {
  const { t } = useTranslation('admin');
  const { dateTime } = useFormat();
  return (
    <Section title={t('order.history')}>
      <ol className="grid gap-3">
        {order.history.map(({ id, to_status, reason, created_at }) => (
          <li key={id} className="flex flex-wrap items-center gap-x-3 gap-y-1">
            <StatusBadge status={to_status} />
            <span className="text-sm text-muted">{dateTime(created_at)}</span>
            {reason && <span className="w-full text-sm break-words sm:w-auto">{reason}</span>}
          </li>
        ))}
      </ol>
    </Section>
  );
}

async function changePayment(id: string, status: Payment['status']) {
  await read(
    api.PATCH('/api/payments/{id}/status', { params: { path: { id } }, body: { status } }),
  );
  await refresh();
}

function PaymentSection({ payment }: { payment: Payment }) {
  const { t } = useTranslation('admin');
  const { t: shop } = useTranslation();
  const { rupees, dateTime } = useFormat();
  return (
    <Section title={t('payment.title')}>
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1.5">
        <dt className="text-muted">{t('orders.status')}</dt>
        <dd>
          <PaymentBadge status={payment.status} />
        </dd>
        <dt className="text-muted">{t('payment.amount')}</dt>
        <dd>{rupees(payment.amount)}</dd>
        <dt className="text-muted">{t('orders.method')}</dt>
        <dd>{shop(`method.${payment.payment_method}`)}</dd>
        <dt className="text-muted">{t('payment.started')}</dt>
        <dd>{dateTime(payment.created_at)}</dd>
        {payment.transaction_id && (
          <>
            <dt className="text-muted">{t('payment.transaction')}</dt>
            <dd className="min-w-0 text-sm break-all">{payment.transaction_id}</dd>
          </>
        )}
        {payment.failure_reason && (
          <>
            <dt className="text-muted">{t('payment.reason')}</dt>
            <dd className="min-w-0 break-words">{payment.failure_reason}</dd>
          </>
        )}
      </dl>
      {payment.status === 'completed' && payment.refund_requested_at && (
        <p className="mt-3" role="status">
          {t('payment.refunding', { date: dateTime(payment.refund_requested_at) })}
        </p>
      )}
      <div className="mt-4 flex flex-wrap gap-3 empty:hidden">
        {nextOfPayment(payment).map((status) => (
          <ConfirmButton
            key={status}
            look={status === 'completed' ? 'secondary' : 'danger'}
            label={t(`payment.to.${status as 'refunded'}`)}
            title={t(`payment.ask.${status as 'refunded'}`, { amount: rupees(payment.amount) })}
            text={t(`payment.text.${status as 'refunded'}`)}
            confirm={t(`payment.to.${status as 'refunded'}`)}
            action={() => changePayment(payment.id, status)}
          />
        ))}
      </div>
    </Section>
  );
}

function Customer({ order }: { order: OrderDetails }) {
  const { t } = useTranslation('admin');
  return (
    <Section title={t('order.delivery')}>
      <p className="mb-3 break-words whitespace-pre-line">{order.shipping_address}</p>
      <Link href={`/admin/orders?user_id=${order.user_id}`} className={LINK}>
        {t('order.ofSameCustomer')}
      </Link>
    </Section>
  );
}
