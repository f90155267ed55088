import { useEffect, useEffectEvent, useState, type ReactNode } from 'react';
import { useForm, useWatch } from 'react-hook-form';
import { useTranslation } from 'react-i18next';
import { rules } from '../account/rules';
import { asProblem } from '../api/problem';
import type { User } from '../api/types';
import { mobileNumber, PIN_CODE } from '../lib/validation';
import { Button } from '../ui/button';
import { Field, TextArea } from '../ui/field';
import { fieldText, loadFieldTexts } from '../ui/field-text';
import { keepDraft, METHODS, readDraft, type CheckoutForm } from './draft';

type Props = {
  user: User;
  isPending: boolean;
  isBlocked: boolean;
  error: unknown;
  onSubmit: (form: CheckoutForm) => void;
  /** What became of the last try. */
  children: ReactNode;
};

const LABELS = { upi: 'upi', credit_card: 'card', cash_on_delivery: 'cash' } as const;

export function AddressForm({ user, isPending, isBlocked, error, onSubmit, children }: Props) {
  const { t } = useTranslation();
  const [draft] = useState(() => readDraft(user));
  const { register, handleSubmit, control, setError, formState } = useForm<CheckoutForm>({
    defaultValues: draft,
  });
  const typed = useWatch({ control });
  useEffect(() => keepDraft(user, typed), [user, typed]);
  const { errors } = formState;
  const check = rules(t);
  // Three inputs make up the one field that the API knows.
  const showServerErrors = useEffectEvent(async () => {
    const problem = asProblem(error);
    const address = problem.fields.find(({ field }) => field === 'shipping_address');
    if (!address) return;
    await loadFieldTexts();
    const message = fieldText(problem, address.message);
    setError('street', { message }, { shouldFocus: true });
  });
  useEffect(() => {
    if (error) void showServerErrors();
  }, [error]);

  return (
    <form
      noValidate
      className="grid gap-4 card p-4 sm:p-6"
      onSubmit={(event) => void handleSubmit(onSubmit)(event)}
    >
      <fieldset className="grid gap-4">
        <legend className="mb-3 text-lg font-bold">{t('checkout.address')}</legend>
        <Field
          label={t('checkout.name')}
          autoComplete="name"
          error={errors.name?.message}
          {...register('name', check.text(200))}
        />
        <Field
          label={t('checkout.phone')}
          type="tel"
          autoComplete="tel"
          hint={t('checkout.phoneHint')}
          error={errors.phone?.message}
          {...register('phone', {
            validate: (text) => mobileNumber(text) !== null || t('validation.phone'),
          })}
        />
        <TextArea
          label={t('checkout.street')}
          autoComplete="street-address"
          error={errors.street?.message}
          {...register('street', check.text(500))}
        />
        <div className="grid gap-4 sm:grid-cols-2">
          <Field
            label={t('checkout.city')}
            autoComplete="address-level2"
            error={errors.city?.message}
            {...register('city', check.text(100))}
          />
          <Field
            label={t('checkout.pin')}
            inputMode="numeric"
            autoComplete="postal-code"
            error={errors.pin?.message}
            {...register('pin', {
              validate: (text) => PIN_CODE.test(text.trim()) || t('validation.pin'),
            })}
          />
        </div>
      </fieldset>
      <fieldset>
        <legend className="mb-2 text-lg font-bold">{t('checkout.payment')}</legend>
        {METHODS.map((method) => (
          <label key={method} className="flex min-h-11 items-center gap-3">
            <input
              type="radio"
              value={method}
              className="size-5 accent-brand"
              {...register('method')}
            />
            {t(`checkout.${LABELS[method]}`)}
          </label>
        ))}
      </fieldset>
      {children}
      <Button type="submit" busy={isPending} disabled={isBlocked}>
        {typed.method === 'cash_on_delivery' ? t('checkout.place') : t('checkout.toPayment')}
      </Button>
      <p className="text-sm text-muted">{t('checkout.safe')}</p>
    </form>
  );
}
