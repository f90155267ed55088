import { useMutation } from '@tanstack/react-query';
import { useForm } from 'react-hook-form';
import { useTranslation } from 'react-i18next';
import { Link, Redirect, useSearchParams } from 'wouter';
import { api, read } from '../api/client';
import { asProblem } from '../api/problem';
import { session, useUser } from '../session/session';
import { Button } from '../ui/button';
import { Field } from '../ui/field';
import { showFieldErrors } from '../ui/form-problem';
import { Notice } from '../ui/notice';
import { Page } from '../ui/page';
import { Trouble } from '../ui/trouble';
import { nextPage, withNext } from './next';
import { PasswordField } from './password-field';
import { rules } from './rules';

type Form = { email: string; password: string };

export function SignInPage() {
  const { t } = useTranslation();
  const [params] = useSearchParams();
  const user = useUser();
  const { register, handleSubmit, setError, formState } = useForm<Form>();
  const signIn = useMutation({
    mutationFn: (body: Form) => read(api.POST('/api/auth/login', { body })),
    onSuccess: (tokens) => session.start(tokens),
    onError: (error) => showFieldErrors(error, ['email', 'password'], setError),
  });
  const check = rules(t);

  if (user) return <Redirect to={nextPage(params)} replace />;
  return (
    <Page title={t('account.signIn')} width="narrow">
      <div className="grid gap-4 card p-4 sm:p-6">
        <Reason next={nextPage(params)} />
        <form
          noValidate
          className="grid gap-4"
          onSubmit={(event) => void handleSubmit((form) => signIn.mutate(form))(event)}
        >
          <Field
            label={t('account.email')}
            type="email"
            autoComplete="username"
            error={formState.errors.email?.message}
            {...register('email', check.required)}
          />
          <PasswordField
            label={t('account.password')}
            autoComplete="current-password"
            error={formState.errors.password?.message}
            {...register('password', check.required)}
          />
          <Failure
            error={signIn.error}
            onRetry={() => void handleSubmit((form) => signIn.mutate(form))()}
          />
          <Button type="submit" busy={signIn.isPending}>
            {t('account.signIn')}
          </Button>
        </form>
        <p>
          <Link href="/forgot-password" className="text-brand underline underline-offset-4">
            {t('account.forgot')}
          </Link>
        </p>
        <p>
          {t('account.noAccount')}{' '}
          <Link
            href={withNext('/sign-up', params)}
            className="font-semibold text-brand underline underline-offset-4"
          >
            {t('account.signUp')}
          </Link>
        </p>
      </div>
    </Page>
  );
}

function Reason({ next }: { next: string }) {
  const { t } = useTranslation();
  if (session.hasExpired()) return <Notice tone="warning">{t('account.expired')}</Notice>;
  if (next === '/checkout') return <Notice>{t('checkout.signInFirst')}</Notice>;
  return null;
}

function Failure({ error, onRetry }: { error: unknown; onRetry: () => void }) {
  const { t } = useTranslation();
  if (!error) return null;
  const problem = asProblem(error);
  if (problem.status === 401) {
    return (
      <Notice tone="danger" live>
        {t('account.wrong')}
      </Notice>
    );
  }
  return <Trouble problem={problem} onRetry={problem.passes ? onRetry : undefined} />;
}
