import { useMutation, useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { asProblem } from '../../api/problem';
import { useFormat } from '../../i18n/format';
import { NotFoundPage } from '../../layout/not-found-page';
import { Button, buttonClass } from '../../ui/button';
import { Loaded } from '../../ui/loaded';
import { Notice } from '../../ui/notice';
import { Page } from '../../ui/page';
import { Pagination } from '../../ui/pagination';
import { SkeletonRows } from '../../ui/skeleton';
import { Trouble } from '../../ui/trouble';
import { systemInfoQuery } from '../system/queries';
import { ConfirmButton } from '../../ui/confirm-button';
import { oneOf, PAGE_SIZE, requestOf, useListing } from '../ui/listing';
import { refresh } from '../ui/refresh';
import { Select } from '../ui/select';
import { oneByOne } from './one-by-one';
import { jobsQuery, QUEUES, removeJob, retryJob, type Job, type Queue } from './queries';
import { canRemove, canRetry, statesOf } from './states';

export function JobsPage({ queue }: { queue: string }) {
  const known = oneOf(QUEUES, queue);
  return known ? <Jobs queue={known} /> : <NotFoundPage />;
}

const FILTERS = ['state'] as const;

function Jobs({ queue }: { queue: Queue }) {
  const { t } = useTranslation('admin');
  const { data: system } = useQuery(systemInfoQuery());
  const states = statesOf(system?.configuration?.workerMode);
  const list = useListing(FILTERS);
  const state = oneOf(states, list.filters.state) ?? 'failed';
  const jobs = useQuery(jobsQuery(queue, { ...requestOf(list), state }));

  return (
    <Page
      title={t('queues.jobsOf', { queue: t(`queues.names.${queue}`) })}
      aside={
        <Link href="/admin/queues" className={buttonClass('plain')}>
          {t('queues.title')}
        </Link>
      }
    >
      {states.length > 1 ? (
        <div className="mb-5 max-w-xs">
          <Select
            label={t('queues.state')}
            value={state}
            onChange={(event) => list.narrow({ state: event.target.value })}
          >
            {states.map((each) => (
              <option key={each} value={each}>
                {t(`queues.states.${each as 'failed'}`)}
              </option>
            ))}
          </Select>
        </div>
      ) : (
        <p className="mb-4">{t('queues.inProcess')}</p>
      )}
      <section aria-label={t('queues.jobs')} aria-busy={jobs.isPlaceholderData}>
        <Loaded query={jobs} skeleton={<SkeletonRows rows={5} />}>
          {({ data, count }) => (
            <>
              <p role="status" className="mb-3 text-muted">
                {t('queues.count', { count })}
              </p>
              <AllJobs key={state} jobs={data} queue={queue} />
              {data.length === 0 ? (
                <p className="card px-4 py-12 text-center text-lg">{t('queues.noJobs')}</p>
              ) : (
                <ul className="grid gap-4">
                  {data.map((job) => (
                    <li key={job.id}>
                      <JobCard job={job} queue={queue} />
                    </li>
                  ))}
                </ul>
              )}
              <Pagination
                page={list.page}
                pages={Math.ceil(count / PAGE_SIZE)}
                hrefOf={list.hrefOf}
              />
            </>
          )}
        </Loaded>
      </section>
    </Page>
  );
}

/** For the morning after an outage, when there are many. Remains after the last one, to say what was done. */
function AllJobs({ jobs, queue }: { jobs: Job[]; queue: Queue }) {
  const { t } = useTranslation('admin');
  const retryable = jobs.filter(canRetry);
  const removable = jobs.filter(canRemove);
  const retry = useMutation({
    mutationFn: () => oneByOne(retryable, (job) => retryJob(job, queue)),
    onSettled: refresh,
  });
  return (
    <div className="mb-4 grid gap-3 empty:hidden">
      {jobs.length > 1 && (
        <div className="flex flex-wrap gap-3">
          {retryable.length > 1 && (
            <Button look="secondary" busy={retry.isPending} onClick={() => retry.mutate()}>
              {t('queues.retryAll', { count: retryable.length })}
            </Button>
          )}
          {removable.length > 1 && (
            <ConfirmButton
              label={t('queues.removeAll', { count: removable.length })}
              title={t('queues.removeAllTitle', { count: removable.length })}
              text={t('queues.removeText')}
              confirm={t('queues.remove')}
              action={async () => {
                await oneByOne(removable, (job) => removeJob(job, queue));
                await refresh();
              }}
            />
          )}
        </div>
      )}
      {retry.isSuccess && (
        <Notice tone="success" live>
          {t('queues.retriedAll', { count: retry.data })}
        </Notice>
      )}
      {retry.error && (
        <Trouble
          problem={asProblem(retry.error)}
          failures={retry.failureCount}
          onRetry={() => retry.mutate()}
        />
      )}
    </div>
  );
}

function JobCard({ job, queue }: { job: Job; queue: Queue }) {
  const { t } = useTranslation('admin');
  const { dateTime } = useFormat();
  const retry = useMutation({ mutationFn: () => retryJob(job, queue), onSettled: refresh });
  return (
    <article className="card p-4" aria-label={t('queues.job', { name: job.name, id: job.id })}>
      <h2 className="font-bold break-all">{job.name}</h2>
      <p className="text-sm break-all text-muted">{job.id}</p>
      {job.failed_reason && (
        <p className="mt-2 rounded-lg bg-danger-soft px-3 py-2 [overflow-wrap:anywhere] text-danger">
          {job.failed_reason}
        </p>
      )}
      <dl className="mt-3 grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-sm">
        <dt className="text-muted">{t('queues.attempts')}</dt>
        <dd>{job.attempts_made}</dd>
        <When label={t('queues.created')} instant={job.created_at} format={dateTime} />
        <When label={t('queues.finished')} instant={job.finished_at} format={dateTime} />
      </dl>
      <details className="mt-2">
        <summary className="min-h-8 w-fit text-sm font-medium text-brand">
          {t('queues.details')}
        </summary>
        <Code title={t('queues.payload')} text={JSON.stringify(job.payload, null, 2)} />
        {job.stacktrace.length > 0 && (
          <Code title={t('queues.stacktrace')} text={job.stacktrace.join('\n\n')} />
        )}
      </details>
      <div className="mt-2 flex flex-wrap gap-3">
        {canRetry(job) && (
          <Button
            look="secondary"
            aria-label={t('queues.retryNamed', { name: job.name, id: job.id })}
            busy={retry.isPending}
            onClick={() => retry.mutate()}
          >
            {t('queues.retry')}
          </Button>
        )}
        {canRemove(job) && (
          <ConfirmButton
            label={t('queues.remove')}
            accessibleLabel={t('queues.removeNamed', { name: job.name, id: job.id })}
            title={t('queues.removeTitle', { name: job.name })}
            text={t('queues.removeText')}
            confirm={t('queues.remove')}
            action={async () => {
              await removeJob(job, queue);
              await refresh();
            }}
          />
        )}
      </div>
      {retry.error && (
        <div className="mt-3">
          <Trouble
            problem={asProblem(retry.error)}
            failures={retry.failureCount}
            onRetry={() => retry.mutate()}
          />
        </div>
      )}
    </article>
  );
}

type WhenProps = { label: string; instant: string | null; format: (instant: string) => string };

function When({ label, instant, format }: WhenProps) {
  if (!instant) return null;
  return (
    <>
      <dt className="text-muted">{label}</dt>
      <dd>{format(instant)}</dd>
    </>
  );
}

function Code({ title, text }: { title: string; text: string }) {
  return (
    <figure className="mt-2">
      <figcaption className="text-sm text-muted">{title}</figcaption>
      <pre className="max-h-80 overflow-y-auto rounded-lg bg-paper p-3 text-sm [overflow-wrap:anywhere] whitespace-pre-wrap">
        {text}
      </pre>
    </figure>
  );
}
