import { useMutation } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { useSearchParams } from 'wouter';
import { api, read } from '../api/client';
import { asProblem } from '../api/problem';
import { queryClient } from '../api/query-client';
import { Button } from '../ui/button';
import { Notice } from '../ui/notice';
import { Page } from '../ui/page';
import { Trouble } from '../ui/trouble';

/** A click and not the visit confirms, because programs that look into mails visit links too. */
export function VerifyEmailPage() {
  const { t } = useTranslation();
  const [params] = useSearchParams();
  const token = params.get('token');
  return (
    <Page title={t('account.verifyTitle')} width="narrow">
      {token ? <Verify token={token} /> : <Notice tone="warning">{t('account.noToken')}</Notice>}
    </Page>
  );
}

function Verify({ token }: { token: string }) {
  const { t } = useTranslation();
  const verify = useMutation({
    mutationFn: () => read(api.POST('/api/auth/verify-email', { body: { token } })),
    onSuccess: () => queryClient.invalidateQueries({ queryKey: ['private', 'me'] }),
  });
  if (verify.isSuccess) {
    return (
      <Notice tone="success" live>
        {t('account.verifyDone')}
      </Notice>
    );
  }
  return (
    <div className="grid gap-4">
      {verify.error && (
        <Trouble problem={asProblem(verify.error)} onRetry={() => verify.mutate()} />
      )}
      <Button busy={verify.isPending} onClick={() => verify.mutate()}>
        {t('account.verifyGo')}
      </Button>
    </div>
  );
}
