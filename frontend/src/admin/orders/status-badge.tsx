import { useTranslation } from 'react-i18next';
import type { OrderStatus, Payment } from '../../api/types';
import { Badge, type Tone } from '../ui/badge';

const TONES: Record<OrderStatus, Tone> = {
  pending: 'waiting',
  payment_failed: 'bad',
  processing: 'waiting',
  shipped: 'plain',
  delivered: 'good',
  cancelled: 'bad',
};

const PAYMENT_TONES: Record<Payment['status'], Tone> = {
  pending: 'waiting',
  completed: 'good',
  failed: 'bad',
  refunded: 'plain',
};

export function StatusBadge({ status }: { status: OrderStatus }) {
  const { t } = useTranslation('admin');
  return <Badge tone={TONES[status]}>{t(`status.${status}`)}</Badge>;
}

export function PaymentBadge({ status }: { status: Payment['status'] }) {
  const { t } = useTranslation('admin');
  return <Badge tone={PAYMENT_TONES[status]}>{t(`paymentStatus.${status}`)}</Badge>;
}
