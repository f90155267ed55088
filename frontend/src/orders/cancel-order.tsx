import { useMutation } from '@tanstack/react-query';
import {
  Button as TriggerButton,
  Dialog,
  DialogTrigger,
  Heading,
  Modal,
  ModalOverlay,
} from 'react-aria-components';
import { useTranslation } from 'react-i18next';
import { api, read } from '../api/client';
import { asProblem } from '../api/problem';
import { queryClient } from '../api/query-client';
import { Button, buttonClass } from '../ui/button';
import { Trouble } from '../ui/trouble';
import { orderQuery } from './queries';

export function CancelOrder({ id }: { id: string }) {
  const { t } = useTranslation();
  return (
    <DialogTrigger>
      <TriggerButton className={buttonClass('danger')}>{t('order.cancel')}</TriggerButton>
      <ModalOverlay
        isDismissable
        className="fixed inset-0 z-40 flex items-center justify-center bg-black/50 p-4"
      >
        <Modal className="w-full max-w-md rounded-xl bg-card p-5">
          <Dialog role="alertdialog" className="grid gap-4 outline-none">
            {({ close }) => <Question id={id} close={close} />}
          </Dialog>
        </Modal>
      </ModalOverlay>
    </DialogTrigger>
  );
}

function Question({ id, close }: { id: string; close: () => void }) {
  const { t } = useTranslation();
  const cancel = useMutation({
    mutationFn: () =>
      read(
        api.PATCH('/api/orders/{id}/status', {
          params: { path: { id } },
          body: { status: 'cancelled' },
        }),
      ),
    onSuccess: async () => {
      await queryClient.invalidateQueries({ queryKey: orderQuery(id).queryKey });
      close();
    },
  });
  return (
    <>
      <Heading slot="title" className="text-xl font-bold">
        {t('order.cancelTitle')}
      </Heading>
      <p>{t('order.cancelText')}</p>
      {cancel.error && (
        <Trouble problem={asProblem(cancel.error)} onRetry={() => cancel.mutate()} />
      )}
      <div className="flex flex-wrap gap-3">
        <Button look="danger" busy={cancel.isPending} onClick={() => cancel.mutate()}>
          {t('order.cancelYes')}
        </Button>
        <Button look="secondary" onClick={close}>
          {t('order.cancelNo')}
        </Button>
      </div>
    </>
  );
}
