import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { asProblem } from '../api/problem';
import type { OrderDetails } from '../api/types';
import { useFormat } from '../i18n/format';
import { NotFoundPage } from '../layout/not-found-page';
import { isPayable } from '../orders/payable';
import { orderQuery } from '../orders/queries';
import { buttonClass } from '../ui/button';
import { Loaded } from '../ui/loaded';
import { Notice } from '../ui/notice';
import { Page } from '../ui/page';
import { SkeletonRows } from '../ui/skeleton';
import { PaymentForm } from './payment-form';

const POLL_INTERVAL = 2000;

/** Paying, and what came of it. Where things stand is the order's to say, so a reload shows the same. */
export function PaymentPage({ id }: { id: string }) {
  const order = useQuery({
    ...orderQuery(id),
    refetchInterval: ({ state }) => (state.data && isAsking(state.data) ? POLL_INTERVAL : false),
  });
  if (order.isError && [400, 404].includes(asProblem(order.error).status)) return <NotFoundPage />;
  return (
    <div className="mx-auto w-full max-w-2xl">
      <Loaded query={order} skeleton={<SkeletonRows rows={2} />}>
        {(data) => <Outcome order={data} />}
      </Loaded>
    </div>
  );
}

function isAsking({ status, payment }: OrderDetails): boolean {
  return status === 'pending' && payment?.status === 'pending';
}

function Outcome({ order }: { order: OrderDetails }) {
  const { t } = useTranslation();
  const { rupees } = useFormat();
  const amount = rupees(order.total_amount);

  if (order.payment_method === 'cash_on_delivery' && order.status !== 'cancelled') {
    return (
      <Page title={t('payment.cashTitle')} width="narrow">
        <Notice tone="success">{t('payment.cashText', { amount })}</Notice>
        <TrackLink order={order} />
      </Page>
    );
  }
  if (order.payment?.status === 'completed') {
    return (
      <Page key="paid" title={t('payment.paidTitle')} width="narrow">
        <Notice tone="success" live>
          {t('payment.paid')} {amount}
        </Notice>
        <TrackLink order={order} />
      </Page>
    );
  }
  if (isAsking(order)) {
    return (
      <Page title={t('payment.title')} width="narrow">
        <Notice live>{t('payment.pending')}</Notice>
        <TrackLink order={order} />
      </Page>
    );
  }
  if (isPayable(order)) {
    return (
      <Page title={t('payment.title')} width="narrow">
        <p className="mb-4 flex justify-between text-xl font-bold">
          <span>{t('payment.amount')}</span>
          <span>{amount}</span>
        </p>
        <PaymentForm order={order} />
      </Page>
    );
  }
  return (
    <Page title={t('payment.title')} width="narrow">
      <Notice>{t('payment.notPayable')}</Notice>
      <TrackLink order={order} />
    </Page>
  );
}

function TrackLink({ order }: { order: OrderDetails }) {
  const { t } = useTranslation();
  return (
    <Link href={`/orders/${order.id}`} className={buttonClass('primary', 'mt-4')}>
      {t('payment.track')}
    </Link>
  );
}
