import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { useFormat } from '../../i18n/format';
import { Button } from '../../ui/button';
import { Page } from '../../ui/page';
import { List } from '../ui/list';
import { requestOf, useListing } from '../ui/listing';
import { Select } from '../ui/select';
import { shortId } from '../ui/short-id';
import type { Column } from '../ui/table';
import { changesOf } from './changes';
import { auditQuery, type AuditEntry } from './queries';

const FILTERS = ['action', 'resource_type', 'resource_id', 'actor_id'] as const;

const ACTIONS = [
  'sign_in',
  'product.create',
  'product.update',
  'product.delete',
  'product.restore',
  'product.import',
  'order.create',
  'order.status',
  'payment.status',
  'user.create',
  'user.update',
  'user.reset_password',
  'job.retry',
  'job.remove',
] as const;

const RESOURCES = ['product', 'order', 'payment', 'user', 'job'] as const;

export function AuditPage() {
  const { t } = useTranslation('admin');
  const list = useListing(FILTERS);
  const { filters, narrow } = list;
  const entries = useQuery(auditQuery(requestOf(list)));
  const { actor_id, resource_id } = filters;

  return (
    <Page title={t('audit.title')}>
      <p className="-mt-3 mb-5 text-muted">{t('audit.text')}</p>
      <div className="mb-5 grid items-end gap-3 sm:grid-cols-2 lg:grid-cols-3">
        <Select
          label={t('audit.action')}
          value={filters.action}
          onChange={(event) => narrow({ action: event.target.value })}
        >
          <option value="">{t('list.all')}</option>
          {ACTIONS.map((action) => (
            <option key={action} value={action}>
              {t(`audit.actions.${action}`)}
            </option>
          ))}
        </Select>
        <Select
          label={t('audit.resource')}
          value={filters.resource_type}
          onChange={(event) => narrow({ resource_type: event.target.value })}
        >
          <option value="">{t('list.all')}</option>
          {RESOURCES.map((type) => (
            <option key={type} value={type}>
              {t(`audit.resources.${type}`)}
            </option>
          ))}
        </Select>
        {(actor_id || resource_id) && (
          <p className="flex flex-wrap items-center gap-x-3">
            {actor_id && t('audit.byOne', { id: shortId(actor_id) })}{' '}
            {resource_id && t('audit.ofOne', { id: shortId(resource_id) })}
            <Button look="plain" onClick={() => narrow({ actor_id: '', resource_id: '' })}>
              {t('audit.showAll')}
            </Button>
          </p>
        )}
      </div>
      <List
        query={entries}
        caption={t('audit.title')}
        columns={useColumns()}
        keyOf={({ id }) => id}
        empty={t(list.isFiltered ? 'list.noMatch' : 'audit.empty')}
        page={list.page}
        hrefOf={list.hrefOf}
      />
    </Page>
  );
}

const LINK = 'text-brand underline underline-offset-2';

function useColumns(): Column<AuditEntry>[] {
  const { t } = useTranslation('admin');
  const { dateTime } = useFormat();
  return [
    {
      header: t('audit.action'),
      cell: ({ action }) => t(`audit.actions.${action as 'sign_in'}`, { defaultValue: action }),
    },
    { header: t('audit.when'), cell: ({ created_at }) => dateTime(created_at), whole: true },
    {
      header: t('audit.who'),
      whole: true,
      cell: ({ actor_id, client_address }) => (
        <>
          {actor_id ? (
            <Link
              href={`/admin/audit?actor_id=${actor_id}`}
              className={LINK}
              aria-label={t('audit.byOne', { id: shortId(actor_id) })}
            >
              {shortId(actor_id)}
            </Link>
          ) : (
            t('audit.commandLine')
          )}
          {client_address && <span className="block text-sm text-muted">{client_address}</span>}
        </>
      ),
    },
    {
      header: t('audit.what'),
      whole: true,
      cell: ({ resource_type, resource_id }) => (
        <>
          {t(`audit.resources.${resource_type as 'user'}`, { defaultValue: resource_type })}{' '}
          <Link
            href={`/admin/audit?resource_id=${encodeURIComponent(resource_id)}`}
            className={LINK}
            aria-label={t('audit.ofOne', { id: shortId(resource_id) })}
          >
            {shortId(resource_id)}
          </Link>
        </>
      ),
    },
    { header: t('audit.changes'), cell: ({ changes }) => <Changes changes={changes} /> },
  ];
}

function Changes({ changes }: { changes: Record<string, unknown> }) {
  const { t } = useTranslation('admin');
  const list = changesOf(changes);
  if (list.length === 0) return '–';
  return (
    <ul className="grid gap-1 text-sm">
      {list.map(({ field, from, to }) => (
        <li key={field} className="line-clamp-4">
          {from === null ? t('audit.value', { field, to }) : t('audit.change', { field, from, to })}
        </li>
      ))}
    </ul>
  );
}
