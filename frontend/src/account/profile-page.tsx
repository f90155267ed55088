import { useMutation, useQuery } from '@tanstack/react-query';
import { useForm } from 'react-hook-form';
import { useTranslation } from 'react-i18next';
import { api, read } from '../api/client';
import { asProblem } from '../api/problem';
import { queryClient } from '../api/query-client';
import type { User } from '../api/types';
import { mobileNumber } from '../lib/validation';
import { session, signOut } from '../session/session';
import { Button } from '../ui/button';
import { Field, TextArea } from '../ui/field';
import { showFieldErrors } from '../ui/form-problem';
import { Loaded } from '../ui/loaded';
import { Notice } from '../ui/notice';
import { Page } from '../ui/page';
import { SkeletonRows } from '../ui/skeleton';
import { Trouble } from '../ui/trouble';
import { meQuery } from './queries';
import { rules } from './rules';

export function ProfilePage() {
  const { t } = useTranslation();
  const me = useQuery(meQuery());
  return (
    <Page
      title={t('account.profile')}
      width="narrow"
      aside={
        <Button look="secondary" onClick={() => void signOut()}>
          {t('account.signOut')}
        </Button>
      }
    >
      <Loaded query={me} skeleton={<SkeletonRows />}>
        {(user) => (
          <div className="grid gap-5 card p-4 sm:p-6">
            <Mailbox user={user} />
            <ProfileForm user={user} />
          </div>
        )}
      </Loaded>
    </Page>
  );
}

function Mailbox({ user }: { user: User }) {
  const { t } = useTranslation();
  const ask = useMutation({ mutationFn: () => read(api.POST('/api/auth/verify-email/request')) });
  return (
    <div className="grid gap-2">
      <p>
        <span className="block font-medium">{t('account.email')}</span>
        <span className="break-all">{user.email}</span>{' '}
        <span className="text-sm text-muted">
          ({user.email_verified_at ? t('account.verified') : t('account.unverified')})
        </span>
      </p>
      {!user.email_verified_at && !ask.isSuccess && (
        <Button
          look="secondary"
          className="w-fit"
          busy={ask.isPending}
          onClick={() => ask.mutate()}
        >
          {t('account.verifySend')}
        </Button>
      )}
      {ask.isSuccess && (
        <Notice tone="success" live>
          {t('account.verifySent')}
        </Notice>
      )}
      {ask.error && <Trouble problem={asProblem(ask.error)} onRetry={() => ask.mutate()} />}
    </div>
  );
}

type Form = { full_name: string; phone: string; address: string };

function ProfileForm({ user }: { user: User }) {
  const { t } = useTranslation();
  const { register, handleSubmit, setError, formState } = useForm<Form>({
    defaultValues: {
      full_name: user.full_name,
      phone: user.phone ?? '',
      address: user.address ?? '',
    },
  });
  const save = useMutation({
    mutationFn: ({ full_name, phone, address }: Form) => {
      const number = mobileNumber(phone);
      const body = { full_name, phone: number && `+91${number}`, address: address.trim() || null };
      return read(api.PATCH('/api/auth/me', { body }));
    },
    onSuccess: ({ user: saved }) => {
      session.update(saved);
      queryClient.setQueryData(meQuery().queryKey, saved);
    },
    onError: (error) => showFieldErrors(error, ['full_name', 'phone', 'address'], setError),
  });
  const check = rules(t);
  const submit = handleSubmit((form) => save.mutate(form));

  return (
    <form noValidate className="grid gap-4" onSubmit={(event) => void submit(event)}>
      <Field
        label={t('account.name')}
        autoComplete="name"
        error={formState.errors.full_name?.message}
        {...register('full_name', check.text(200))}
      />
      <Field
        label={t('account.phone')}
        type="tel"
        autoComplete="tel"
        error={formState.errors.phone?.message}
        {...register('phone', {
          validate: (text) => !text || mobileNumber(text) !== null || t('validation.phone'),
        })}
      />
      <TextArea
        label={t('account.address')}
        autoComplete="street-address"
        error={formState.errors.address?.message}
        {...register('address', { maxLength: { value: 1000, message: t('validation.tooLong') } })}
      />
      {save.error && <Trouble problem={asProblem(save.error)} onRetry={() => void submit()} />}
      {save.isSuccess && (
        <Notice tone="success" live>
          {t('account.saved')}
        </Notice>
      )}
      <Button type="submit" busy={save.isPending}>
        {t('account.save')}
      </Button>
    </form>
  );
}
