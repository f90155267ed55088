import { useMutation } from '@tanstack/react-query';
import { useForm } from 'react-hook-form';
import { useTranslation } from 'react-i18next';
import { api, read } from '../api/client';
import { asProblem } from '../api/problem';
import { Button } from '../ui/button';
import { Field } from '../ui/field';
import { Notice } from '../ui/notice';
import { Page } from '../ui/page';
import { Trouble } from '../ui/trouble';
import { rules } from './rules';

type Form = { email: string };

export function ForgotPasswordPage() {
  const { t } = useTranslation();
  const { register, handleSubmit, formState } = useForm<Form>();
  const ask = useMutation({
    mutationFn: (body: Form) => read(api.POST('/api/auth/forgot-password', { body })),
  });
  const submit = handleSubmit((form) => ask.mutate(form));

  return (
    <Page title={t('account.forgotTitle')} width="narrow">
      <form
        noValidate
        className="grid gap-4 card p-4 sm:p-6"
        onSubmit={(event) => void submit(event)}
      >
        <p>{t('account.forgotText')}</p>
        <Field
          label={t('account.email')}
          type="email"
          autoComplete="username"
          error={formState.errors.email?.message}
          {...register('email', rules(t).email)}
        />
        {ask.error && <Trouble problem={asProblem(ask.error)} onRetry={() => void submit()} />}
        {ask.isSuccess && (
          <Notice tone="success" live>
            {t('account.forgotSent', { email: ask.variables.email })}
          </Notice>
        )}
        <Button type="submit" busy={ask.isPending}>
          {t('account.forgotSend')}
        </Button>
      </form>
    </Page>
  );
}
