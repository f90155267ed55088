import type { TFunction } from 'i18next';
import { useTranslation } from 'react-i18next';
import type { Order, OrderStatus, PaymentMethod } from '../api/types';

const LOOKS: Record<OrderStatus, string> = {
  pending: 'bg-warn-soft text-warn',
  payment_failed: 'bg-danger-soft text-danger',
  processing: 'bg-leaf-soft text-leaf',
  shipped: 'bg-leaf-soft text-leaf',
  delivered: 'bg-leaf-soft text-leaf',
  cancelled: 'bg-[#efe8e2] text-muted',
};

/** Nobody waits for the payment of an order that is paid for at the door. */
export function statusText(
  status: OrderStatus,
  method: PaymentMethod | null,
  t: TFunction,
): string {
  if (status === 'pending' && method === 'cash_on_delivery') return t('statusCash');
  return t(`status.${status}`);
}

export function StatusBadge({ order }: { order: Pick<Order, 'status' | 'payment_method'> }) {
  const { t } = useTranslation();
  return (
    <span
      className={`inline-block rounded-full px-3 py-1 text-sm font-semibold ${LOOKS[order.status]}`}
    >
      {statusText(order.status, order.payment_method, t)}
    </span>
  );
}
