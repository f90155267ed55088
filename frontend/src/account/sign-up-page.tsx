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
import { Page } from '../ui/page';
import { Trouble } from '../ui/trouble';
import { nextPage, withNext } from './next';
import { PasswordField } from './password-field';
import { rules } from './rules';

type Form = { full_name: string; email: string; password: string };

export function SignUpPage() {
  const { t } = useTranslation();
  const [params] = useSearchParams();
  const user = useUser();
  const { register, handleSubmit, setError, formState } = useForm<Form>();
  const signUp = useMutation({
    mutationFn: (body: Form) => read(api.POST('/api/auth/signup', { body })),
    onSuccess: (tokens) => session.start(tokens),
    onError: (error) => showFieldErrors(error, ['full_name', 'email', 'password'], setError),
  });
  const check = rules(t);
  const submit = handleSubmit((form) => signUp.mutate(form));

  if (user) return <Redirect to={nextPage(params)} replace />;
  return (
    <Page title={t('account.signUp')} width="narrow">
      <div className="grid gap-4 card p-4 sm:p-6">
        <form noValidate className="grid gap-4" onSubmit={(event) => void submit(event)}>
          <Field
            label={t('account.name')}
            autoComplete="name"
            error={formState.errors.full_name?.message}
            {...register('full_name', check.text(200))}
          />
          <Field
            label={t('account.email')}
            type="email"
            autoComplete="username"
            error={formState.errors.email?.message}
            {...register('email', check.email)}
          />
          <PasswordField
            label={t('account.password')}
            autoComplete="new-password"
            hint={t('account.passwordHint')}
            error={formState.errors.password?.message}
            {...register('password', check.newPassword)}
          />
          {signUp.error && <SignUpTrouble error={signUp.error} onRetry={() => void submit()} />}
          <Button type="submit" busy={signUp.isPending}>
            {t('account.signUp')}
          </Button>
        </form>
        <p>
          {t('account.haveAccount')}{' '}
          <Link
            href={withNext('/sign-in', params)}
            className="font-semibold text-brand underline underline-offset-4"
          >
            {t('account.signIn')}
          </Link>
        </p>
      </div>
    </Page>
  );
}

function SignUpTrouble({ error, onRetry }: { error: unknown; onRetry: () => void }) {
  const problem = asProblem(error);
  // Every field error has a place beside its field.
  if (problem.fields.length > 0) return null;
  return <Trouble problem={problem} onRetry={problem.passes ? onRetry : undefined} />;
}
