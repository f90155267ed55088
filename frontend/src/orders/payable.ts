import type { OrderDetails } from '../api/types';

/** Whether money is still to be sent for it: nothing has been paid, and nobody is asking a bank just now. */
export function isPayable({ status, payment, payment_method }: OrderDetails): boolean {
  if (payment_method === 'cash_on_delivery') return false;
  if (status === 'payment_failed') return true;
  return status === 'pending' && (payment === null || payment.status === 'failed');
}
