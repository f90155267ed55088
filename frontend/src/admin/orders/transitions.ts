import type { OrderStatus, Payment } from '../../api/types';

export const ORDER_STATUSES = [
  'pending',
  'payment_failed',
  'processing',
  'shipped',
  'delivered',
  'cancelled',
] as const satisfies readonly OrderStatus[];

/** Which status may follow which. The API has the last word; this only spares refusals. */
const NEXT: Record<OrderStatus, readonly OrderStatus[]> = {
  pending: ['processing', 'payment_failed', 'cancelled'],
  payment_failed: ['pending', 'cancelled'],
  processing: ['shipped', 'cancelled'],
  shipped: ['delivered'],
  delivered: [],
  cancelled: [],
};

const NEXT_OF_PAYMENT: Record<Payment['status'], readonly Payment['status'][]> = {
  pending: ['completed', 'failed'],
  completed: ['refunded'],
  failed: [],
  refunded: [],
};

export function nextOf(status: OrderStatus): readonly OrderStatus[] {
  return NEXT[status];
}

/** A refund that has been asked for is on its way and needs no second asking. */
export function nextOfPayment(
  payment: Pick<Payment, 'status' | 'refund_requested_at'>,
): readonly Payment['status'][] {
  return payment.refund_requested_at === null ? NEXT_OF_PAYMENT[payment.status] : [];
}
