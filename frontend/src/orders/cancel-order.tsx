import { useTranslation } from 'react-i18next';
import { api, read } from '../api/client';
import { queryClient } from '../api/query-client';
import { ConfirmButton } from '../ui/confirm-button';
import { orderQuery } from './queries';

export function CancelOrder({ id }: { id: string }) {
  const { t } = useTranslation();

  async function cancel() {
    const params = { path: { id } };
    await read(api.PATCH('/api/orders/{id}/status', { params, body: { status: 'cancelled' } }));
    await queryClient.invalidateQueries({ queryKey: orderQuery(id).queryKey });
  }

  return (
    <ConfirmButton
      label={t('order.cancel')}
      title={t('order.cancelTitle')}
      text={t('order.cancelText')}
      confirm={t('order.cancelYes')}
      decline={t('order.cancelNo')}
      action={cancel}
    />
  );
}
