import { useTranslation } from 'react-i18next';
import type { OrderDetails } from '../api/types';
import { useFormat } from '../i18n/format';
import { statusText } from './status';

/** What has happened to an order; new entries are read out. */
export function History({ order }: { order: OrderDetails }) {
  const { t } = useTranslation();
  const { dateTime } = useFormat();
  return (
    <ol aria-live="polite" className="grid gap-3 border-l-2 border-brand pl-4">
      {order.history.map((entry) => (
        <li key={entry.id}>
          <p className="font-semibold">{statusText(entry.to_status, order.payment_method, t)}</p>
          <p className="text-sm text-muted">{dateTime(entry.created_at)}</p>
        </li>
      ))}
    </ol>
  );
}
