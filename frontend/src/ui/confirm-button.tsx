import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { Dialog, Heading, Modal, ModalOverlay } from 'react-aria-components';
import { useTranslation } from 'react-i18next';
import { asProblem } from '../api/problem';
import { Button } from './button';
import { Trouble } from './trouble';

type Props = {
  label: string;
  /** For a button whose label does not say by itself what it is for. */
  accessibleLabel?: string;
  title: string;
  text: string;
  confirm: string;
  /** For a refusal that the usual words would leave unclear. */
  decline?: string;
  look?: 'danger' | 'secondary' | 'plain';
  action: () => Promise<unknown>;
};

/** A button for what cannot be taken back: it asks first, and stays open with the reason when it does not work. */
export function ConfirmButton(props: Props) {
  const { label, accessibleLabel, title, text, confirm, decline, look = 'danger', action } = props;
  const { t } = useTranslation();
  const [isOpen, setOpen] = useState(false);
  const run = useMutation({ mutationFn: action, onSuccess: () => setOpen(false) });

  function open() {
    run.reset();
    setOpen(true);
  }

  return (
    <>
      <Button look={look} aria-label={accessibleLabel} onClick={open}>
        {label}
      </Button>
      <ModalOverlay
        isOpen={isOpen}
        onOpenChange={setOpen}
        isDismissable={!run.isPending}
        isKeyboardDismissDisabled={run.isPending}
        className="fixed inset-0 z-30 grid place-items-center overflow-y-auto bg-black/50 p-4"
      >
        <Modal className="w-full max-w-md card p-5 shadow-xl">
          <Dialog role="alertdialog" className="grid gap-4 outline-none">
            <Heading slot="title" className="text-xl font-bold break-words">
              {title}
            </Heading>
            <p>{text}</p>
            {run.error && (
              <Trouble
                problem={asProblem(run.error)}
                failures={run.failureCount}
                onRetry={() => run.mutate()}
              />
            )}
            <div className="flex flex-wrap justify-end gap-3">
              <Button look="secondary" onClick={() => setOpen(false)} disabled={run.isPending}>
                {decline ?? t('confirm.no')}
              </Button>
              <Button busy={run.isPending} onClick={() => run.mutate()}>
                {confirm}
              </Button>
            </div>
          </Dialog>
        </Modal>
      </ModalOverlay>
    </>
  );
}
