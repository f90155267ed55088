import type { TFunction } from 'i18next';
import { useTranslation } from 'react-i18next';
import { Problem } from '../api/problem';
import { useCountdown, waitBefore } from '../lib/countdown';
import { Button } from './button';
import { Notice } from './notice';

/** What happened, in the user's words where there are some for it, else in the API's. */
export function messageOf(problem: Problem, t: TFunction): string {
  return t(`problem.${problem.code}` as 'problem.unknown', { defaultValue: problem.message });
}

type Props = {
  problem: Problem;
  onRetry?: (() => void) | undefined;
  /** How often in a row it has failed. */
  failures?: number;
};

/** A failure with a way on. One that passes by itself is tried again by itself. */
export function Trouble({ problem, onRetry, failures = 1 }: Props) {
  const { t } = useTranslation();
  return (
    <Notice tone="danger" live>
      <p className="font-medium">{messageOf(problem, t)}</p>
      {onRetry &&
        (problem.passes ? (
          <Waiting problem={problem} onRetry={onRetry} failures={failures} />
        ) : (
          <Button look="plain" onClick={onRetry}>
            {t('state.retry')}
          </Button>
        ))}
      {problem.status >= 500 && problem.requestId && (
        <p className="mt-1 text-sm">{t('state.requestId', { id: problem.requestId })}</p>
      )}
    </Notice>
  );
}

type WaitingProps = { problem: Problem; onRetry: () => void; failures: number };

function Waiting({ problem, onRetry, failures }: WaitingProps) {
  const { t } = useTranslation();
  const left = useCountdown(waitBefore(failures, problem.retryAfter), problem, onRetry);
  return (
    <p className="flex flex-wrap items-center gap-x-3">
      {/* Read out once with the notice; each tick would be too much. */}
      <span aria-live="off">{t('state.retryIn', { count: left })}</span>
      <Button look="plain" onClick={onRetry}>
        {t('state.retryNow')}
      </Button>
    </p>
  );
}
