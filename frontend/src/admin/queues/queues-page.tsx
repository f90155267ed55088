import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { useFormat } from '../../i18n/format';
import { buttonClass } from '../../ui/button';
import { Loaded } from '../../ui/loaded';
import { Page } from '../../ui/page';
import { Skeleton } from '../../ui/skeleton';
import { formatDuration } from '../ui/duration';
import { Section } from '../ui/section';
import { queueStatsQuery, QUEUES, type Queue, type QueueCounts } from './queries';

const COUNTS = [
  'waiting',
  'active',
  'delayed',
  'paused',
  'prioritized',
  'completed',
  'failed',
] as const;

export function QueuesPage() {
  const { t } = useTranslation('admin');
  const { dateTime } = useFormat();
  const stats = useQuery(queueStatsQuery());
  return (
    <Page title={t('queues.title')}>
      <Loaded query={stats} skeleton={<Cards />}>
        {({ queues, timestamp }) => (
          <>
            <div className="grid gap-5 md:grid-cols-3">
              {QUEUES.map((queue) => (
                <QueueCard key={queue} queue={queue} counts={queues[queue]} />
              ))}
            </div>
            <p className="mt-4 text-sm text-muted">
              {t('queues.asOf', { date: dateTime(timestamp) })}
            </p>
          </>
        )}
      </Loaded>
    </Page>
  );
}

function QueueCard({ queue, counts }: { queue: Queue; counts: QueueCounts }) {
  const { t, i18n } = useTranslation('admin');
  return (
    <Section title={t(`queues.names.${queue}`)}>
      <dl className="grid grid-cols-[1fr_auto] gap-x-4 gap-y-1.5">
        {COUNTS.map((state) => (
          <div
            key={state}
            className={`contents ${state === 'failed' && counts.failed > 0 ? 'font-bold text-danger' : ''}`}
          >
            <dt>{t(`queues.states.${state}`)}</dt>
            <dd className="text-right tabular-nums">{counts[state]}</dd>
          </div>
        ))}
        <dt className="border-t border-line pt-1.5">{t('queues.oldest')}</dt>
        <dd className="border-t border-line pt-1.5 text-right">
          {counts.oldest_waiting_seconds > 0
            ? formatDuration(counts.oldest_waiting_seconds, i18n.language)
            : t('queues.noneWaits')}
        </dd>
      </dl>
      <Link
        href={`/admin/queues/${queue}`}
        className={buttonClass('secondary', 'mt-4 w-full')}
        aria-label={t('queues.jobsOf', { queue: t(`queues.names.${queue}`) })}
      >
        {t('queues.jobs')}
      </Link>
    </Section>
  );
}

function Cards() {
  return (
    <div className="grid gap-5 md:grid-cols-3">
      {QUEUES.map((queue) => (
        <Skeleton key={queue} className="h-80" />
      ))}
    </div>
  );
}
