import { useTranslation } from 'react-i18next';
import { Badge, type Tone } from '../ui/badge';
import { formatDuration } from '../ui/duration';
import { Section } from '../ui/section';
import { Table } from '../ui/table';
import type { Breaker, Services } from './queries';

const CIRCUITS: Record<Breaker['state'], Tone> = {
  closed: 'good',
  half_open: 'waiting',
  open: 'bad',
};

type Layer = { name: 'cache' | 'queue'; service: Services['cache'] };

/** The layers behind the API that can be away, and the breakers that keep requests from waiting for them. */
export function LayersSection({ services }: { services: Services }) {
  const { t, i18n } = useTranslation('admin');
  const layers: Layer[] = [
    { name: 'cache', service: services.cache },
    { name: 'queue', service: services.queue },
  ];
  return (
    <Section title={t('system.layersTitle')}>
      <Table<Layer>
        caption={t('system.layersTitle')}
        rows={layers}
        keyOf={({ name }) => name}
        columns={[
          { header: t('system.layer'), cell: ({ name }) => t(`system.layers.${name}`) },
          { header: t('system.backend'), cell: ({ service }) => service.type },
          {
            header: t('orders.status'),
            cell: ({ service: { status } }) => (
              <Badge tone={status === 'healthy' ? 'good' : 'bad'}>
                {t(`system.services.${status}`)}
              </Badge>
            ),
          },
        ]}
      />
      <h3 className="mt-5 mb-2 font-bold">{t('system.breakers')}</h3>
      <p className="mb-3">
        {t(services.breakers.length === 0 ? 'system.noBreakers' : 'system.breakersText')}
      </p>
      {services.breakers.length > 0 && (
        <Table<Breaker>
          caption={t('system.breakers')}
          rows={services.breakers}
          keyOf={({ dependency }) => dependency}
          columns={[
            {
              header: t('system.before'),
              cell: ({ dependency }) =>
                t(`system.layers.${dependency as 'cache'}`, { defaultValue: dependency }),
            },
            {
              header: t('orders.status'),
              cell: ({ state }) => (
                <Badge tone={CIRCUITS[state]}>{t(`system.circuit.${state}`)}</Badge>
              ),
            },
            {
              header: t('system.nextCall'),
              cell: ({ retryInSeconds }) =>
                retryInSeconds === null
                  ? t('system.atOnce')
                  : t('system.in', {
                      time: formatDuration(Math.ceil(retryInSeconds), i18n.language),
                    }),
              numeric: true,
            },
          ]}
        />
      )}
    </Section>
  );
}
