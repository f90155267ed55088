import { useMutation } from '@tanstack/react-query';
import { useForm } from 'react-hook-form';
import { useTranslation } from 'react-i18next';
import { Link, useSearchParams } from 'wouter';
import { api, read } from '../api/client';
import { asProblem } from '../api/problem';
import { session } from '../session/session';
import { Button, buttonClass } from '../ui/button';
import { showFieldErrors } from '../ui/form-problem';
import { Notice } from '../ui/notice';
import { Page } from '../ui/page';
import { Trouble } from '../ui/trouble';
import { PasswordField } from './password-field';
import { rules } from './rules';

type Form = { password: string };

export function ResetPasswordPage() {
  const { t } = useTranslation();
  const [params] = useSearchParams();
  const token = params.get('token');
  return (
    <Page title={t('account.resetTitle')} width="narrow">
      {token ? <ResetForm token={token} /> : <Notice tone="warning">{t('account.noToken')}</Notice>}
    </Page>
  );
}

function ResetForm({ token }: { token: string }) {
  const { t } = useTranslation();
  const { register, handleSubmit, setError, formState } = useForm<Form>();
  const reset = useMutation({
    mutationFn: ({ password }: Form) =>
      read(api.POST('/api/auth/reset-password', { body: { token, password } })),
    // A new password ends every session, this browser's too.
    onSuccess: () => session.end(),
    onError: (error) => showFieldErrors(error, ['password'], setError),
  });
  const submit = handleSubmit((form) => reset.mutate(form));

  if (reset.isSuccess) {
    return (
      <div className="grid gap-4">
        <Notice tone="success" live>
          {t('account.resetDone')}
        </Notice>
        <Link href="/sign-in" className={buttonClass()}>
          {t('account.signIn')}
        </Link>
      </div>
    );
  }
  return (
    <form
      noValidate
      className="grid gap-4 card p-4 sm:p-6"
      onSubmit={(event) => void submit(event)}
    >
      <PasswordField
        label={t('account.newPassword')}
        autoComplete="new-password"
        hint={t('account.passwordHint')}
        error={formState.errors.password?.message}
        {...register('password', rules(t).newPassword)}
      />
      {reset.error && !formState.errors.password && (
        <Trouble problem={asProblem(reset.error)} onRetry={() => void submit()} />
      )}
      <Button type="submit" busy={reset.isPending}>
        {t('account.resetSave')}
      </Button>
    </form>
  );
}
