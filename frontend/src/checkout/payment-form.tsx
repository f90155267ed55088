import { useMutation } from '@tanstack/react-query';
import { useState } from 'react';
import { useForm, useWatch } from 'react-hook-form';
import { useTranslation } from 'react-i18next';
import { api, read } from '../api/client';
import { asProblem } from '../api/problem';
import { queryClient } from '../api/query-client';
import type { OrderDetails } from '../api/types';
import { useFormat } from '../i18n/format';
import { randomKey } from '../lib/random';
import { isCardNumber, UPI_HANDLE } from '../lib/validation';
import { orderQuery } from '../orders/queries';
import { Button } from '../ui/button';
import { Field } from '../ui/field';
import { Notice } from '../ui/notice';
import { Trouble } from '../ui/trouble';

type Prepaid = 'upi' | 'credit_card';
type Form = { method: Prepaid; handle: string; card: string };
/** One press of the button, under one key however often it has to be sent. */
type Payment = { key: string; method: Prepaid; token: string };

/** How long the API is to wait for the bank before it answers. */
const PREFER_WAIT = 'wait=10';

/** What pays is never stored in the browser: after a reload it is typed again. */
export function PaymentForm({ order }: { order: OrderDetails }) {
  const { t } = useTranslation();
  const { rupees } = useFormat();
  const [failures, setFailures] = useState(0);
  const { register, handleSubmit, control, formState } = useForm<Form>({
    defaultValues: { method: order.payment_method === 'credit_card' ? 'credit_card' : 'upi' },
    shouldUnregister: true,
  });
  const method = useWatch({ control, name: 'method' });

  const pay = useMutation({
    mutationFn: ({ key, method: payment_method, token }: Payment) =>
      read(
        api.POST('/api/payments', {
          params: { header: { 'idempotency-key': key, Prefer: PREFER_WAIT } },
          body: { order_id: order.id, payment_method, payment_token: token },
        }),
      ),
    onError: () => setFailures((count) => count + 1),
    // The order says what came of it, also when this answer is a refusal because another tab has paid.
    onSettled: () => queryClient.invalidateQueries({ queryKey: orderQuery(order.id).queryKey }),
  });

  const submit = handleSubmit((form) => {
    const token = form.method === 'upi' ? form.handle.trim() : form.card.replace(/[\s-]/g, '');
    pay.mutate({ key: randomKey(), method: form.method, token });
  });

  return (
    <form
      noValidate
      className="grid gap-4 card p-4 sm:p-6"
      onSubmit={(event) => void submit(event)}
    >
      {!pay.isPending && <Declined order={order} />}
      <fieldset>
        <legend className="mb-1 font-medium">{t('payment.method')}</legend>
        {(['upi', 'credit_card'] as const).map((each) => (
          <label key={each} className="flex min-h-11 items-center gap-3">
            <input
              type="radio"
              value={each}
              className="size-5 accent-brand"
              {...register('method')}
            />
            {each === 'upi' ? t('checkout.upi') : t('checkout.card')}
          </label>
        ))}
      </fieldset>
      {method === 'upi' ? (
        <Field
          key="upi"
          label={t('payment.upiHandle')}
          hint={t('payment.upiHint')}
          inputMode="email"
          autoCapitalize="none"
          autoComplete="off"
          spellCheck={false}
          error={formState.errors.handle?.message}
          {...register('handle', {
            validate: (text) => UPI_HANDLE.test(text.trim()) || t('validation.upi'),
          })}
        />
      ) : (
        <Field
          key="card"
          label={t('payment.cardNumber')}
          inputMode="numeric"
          autoComplete="cc-number"
          error={formState.errors.card?.message}
          {...register('card', { validate: (text) => isCardNumber(text) || t('validation.card') })}
        />
      )}
      {pay.isPending && <Notice live>{t('payment.asking')}</Notice>}
      {pay.error && (
        <Trouble
          problem={asProblem(pay.error)}
          failures={failures}
          onRetry={() => pay.mutate(pay.variables)}
        />
      )}
      <Button type="submit" busy={pay.isPending}>
        {t('payment.pay', { amount: rupees(order.total_amount) })}
      </Button>
    </form>
  );
}

function Declined({ order }: { order: OrderDetails }) {
  const { t } = useTranslation();
  if (order.payment?.status !== 'failed') return null;
  const told = order.payment.failure_reason;
  // The gateway's own words, where there are none of ours.
  const reason = told && t(`reason.${told}` as 'reason.insufficient funds', { defaultValue: told });
  return (
    <Notice tone="danger" live>
      <p className="font-medium">
        {reason ? t('payment.declined', { reason }) : t('payment.declinedPlain')}
      </p>
      <p>{t('payment.tryAgain')}</p>
    </Notice>
  );
}
