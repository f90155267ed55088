import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { shortId } from '../ui/short-id';
import { customerQuery } from './queries';

/** Whose orders are shown; the short id until the name is known, and if nobody has the id. */
export function CustomerName({ id }: { id: string }) {
  const { t } = useTranslation('admin');
  const { data } = useQuery(customerQuery(id));
  if (!data) return t('orders.ofCustomer', { id: shortId(id) });
  return t('orders.ofPerson', { name: data.full_name, email: data.email });
}
