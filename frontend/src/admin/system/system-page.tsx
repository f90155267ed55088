import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { useFormat } from '../../i18n/format';
import { Loaded } from '../../ui/loaded';
import { Page } from '../../ui/page';
import { SkeletonRows } from '../../ui/skeleton';
import { Badge, type Tone } from '../ui/badge';
import { formatDuration } from '../ui/duration';
import { Section } from '../ui/section';
import { Table } from '../ui/table';
import { checksOf } from './checks';
import { LayersSection } from './layers-section';
import {
  readinessQuery,
  systemInfoQuery,
  type Replica,
  type Services,
  type SystemInfo,
} from './queries';

const TONES: Record<string, Tone> = { ok: 'good', error: 'bad' };

export function SystemPage() {
  const { t } = useTranslation('admin');
  const info = useQuery(systemInfoQuery());
  return (
    <Page title={t('system.title')}>
      <div className="grid items-start gap-5 lg:grid-cols-2">
        <Health />
        <Loaded query={info} skeleton={<SkeletonRows rows={4} />}>
          {(data) => <Process info={data} />}
        </Loaded>
        {info.data?.services && (
          <div className="grid gap-5 lg:col-span-2">
            <LayersSection services={info.data.services} />
            <DatabaseSection database={info.data.services.database} />
          </div>
        )}
      </div>
    </Page>
  );
}

function Health() {
  const { t } = useTranslation('admin');
  const readiness = useQuery(readinessQuery());
  return (
    <Section title={t('system.health')}>
      <Loaded query={readiness} skeleton={<SkeletonRows rows={3} />}>
        {(report) => (
          <>
            <p className="mb-3" role="status">
              <Badge tone={report.status === 'ready' ? 'good' : 'bad'}>
                {t(report.status === 'ready' ? 'system.ready' : 'system.notReady')}
              </Badge>
            </p>
            <ul className="divide-y divide-line">
              {checksOf(report).map(({ name, status, milliseconds }) => (
                <li key={name} className="flex flex-wrap items-center gap-x-3 gap-y-1 py-2">
                  <span className="min-w-32 grow font-medium break-all">
                    {t(`system.layers.${name as 'service'}`, { defaultValue: name })}
                  </span>
                  {milliseconds !== null && (
                    <span className="text-sm text-muted tabular-nums">
                      {t('system.milliseconds', { count: Math.round(milliseconds * 10) / 10 })}
                    </span>
                  )}
                  <Badge tone={TONES[status] ?? 'waiting'}>
                    {t(`system.states.${status as 'ok'}`, { defaultValue: status })}
                  </Badge>
                </li>
              ))}
            </ul>
          </>
        )}
      </Loaded>
    </Section>
  );
}

function Process({ info }: { info: SystemInfo }) {
  const { t, i18n } = useTranslation('admin');
  const { dateTime } = useFormat();
  const { application, configuration, features } = info;
  const onOff = (on: boolean) => t(on ? 'system.on' : 'system.off');
  const facts: [string, string | null | undefined][] = [
    [t('system.version'), application.version],
    [t('system.environment'), application.environment],
    [t('system.uptime'), formatDuration(application.uptime, i18n.language)],
    [t('system.started'), application.startTime && dateTime(application.startTime)],
    [t('system.workerMode'), configuration?.workerMode],
    [t('system.auth'), configuration?.authProvider],
    [t('system.metrics'), onOff(features.metrics.enabled)],
    [t('system.chaos'), onOff(features.chaosEngineering.enabled)],
  ];
  return (
    <Section title={t('system.process')}>
      <dl className="grid grid-cols-[auto_1fr] gap-x-4 gap-y-1.5">
        {facts.map(([label, value]) => (
          <div key={label} className="contents">
            <dt className="text-muted">{label}</dt>
            <dd className="min-w-0 text-right break-words">{value ?? '–'}</dd>
          </div>
        ))}
      </dl>
    </Section>
  );
}

function DatabaseSection({ database: { pool, replicas } }: { database: Services['database'] }) {
  const { t, i18n } = useTranslation('admin');
  return (
    <Section title={t('system.database')}>
      <p className="mb-3">{t('system.pool', pool)}</p>
      {replicas.length === 0 ? (
        <p>{t('system.noReplicas')}</p>
      ) : (
        <Table<Replica>
          caption={t('system.replicas')}
          rows={replicas}
          keyOf={({ name }) => name}
          columns={[
            { header: t('system.replica'), cell: ({ name }) => name },
            {
              header: t('orders.status'),
              cell: ({ inRotation, reason }) => (
                <Badge tone={inRotation ? 'good' : 'bad'}>{t(`system.rotation.${reason}`)}</Badge>
              ),
            },
            {
              header: t('system.lag'),
              cell: ({ lagSeconds, lagBytes }) =>
                `${formatDuration(lagSeconds, i18n.language)}, ${t('system.bytes', { count: lagBytes })}`,
              numeric: true,
            },
          ]}
        />
      )}
    </Section>
  );
}
