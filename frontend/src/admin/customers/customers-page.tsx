import { useQuery } from '@tanstack/react-query';
import { useTranslation } from 'react-i18next';
import { Link } from 'wouter';
import { api, read } from '../../api/client';
import type { components } from '../../api/schema';
import type { User } from '../../api/types';
import { useFormat } from '../../i18n/format';
import { useUser } from '../../session/session';
import { Page } from '../../ui/page';
import { Badge } from '../ui/badge';
import { ConfirmButton } from '../../ui/confirm-button';
import { List } from '../ui/list';
import { requestOf, useListing } from '../ui/listing';
import { refresh } from '../ui/refresh';
import { SearchForm } from '../ui/search-form';
import type { Column } from '../ui/table';
import { customersQuery } from './queries';

const FILTERS = ['search'] as const;

export function CustomersPage() {
  const { t } = useTranslation('admin');
  const list = useListing(FILTERS);
  const customers = useQuery(customersQuery(requestOf(list)));
  return (
    <Page title={t('customers.title')}>
      <div className="mb-5 max-w-xl">
        <SearchForm
          key={list.key}
          label={t('customers.search')}
          value={list.filters.search}
          onSearch={(search) => list.narrow({ search })}
        />
      </div>
      <List
        query={customers}
        caption={t('customers.title')}
        columns={useColumns()}
        keyOf={({ id }) => id}
        empty={t('list.noMatch')}
        page={list.page}
        hrefOf={list.hrefOf}
      />
    </Page>
  );
}

function useColumns(): Column<User>[] {
  const { t } = useTranslation('admin');
  const { date } = useFormat();
  return [
    {
      header: t('customers.name'),
      cell: ({ full_name, email }) => (
        <>
          {full_name}
          <span className="block text-sm font-normal break-all text-muted">{email}</span>
        </>
      ),
    },
    { header: t('customers.phone'), cell: ({ phone }) => phone ?? '–', whole: true },
    { header: t('customers.since'), cell: ({ created_at }) => date(created_at), whole: true },
    {
      header: t('customers.role'),
      cell: ({ role }) => (
        <Badge tone={role === 'admin' ? 'waiting' : 'plain'}>{t(`customers.roles.${role}`)}</Badge>
      ),
    },
    {
      header: t('customers.state'),
      cell: ({ is_active }) => (
        <Badge tone={is_active ? 'good' : 'bad'}>
          {t(is_active ? 'customers.active' : 'customers.inactive')}
        </Badge>
      ),
    },
    { header: t('list.actions'), cell: (user) => <Actions user={user} /> },
  ];
}

async function change(id: string, body: components['schemas']['UpdateUser']) {
  await read(api.PATCH('/api/users/{id}', { params: { path: { id } }, body }));
  await refresh();
}

function Actions({ user }: { user: User }) {
  const { t } = useTranslation('admin');
  const self = useUser()?.id === user.id;
  const name = user.full_name;
  const role = user.role === 'admin' ? 'customer' : 'admin';
  const ways = [
    { way: role === 'admin' ? 'promote' : 'demote', body: { role } },
    { way: user.is_active ? 'block' : 'unblock', body: { is_active: !user.is_active } },
  ] as const;
  return (
    <span className="flex flex-wrap justify-end gap-x-3 md:justify-start">
      <Link
        href={`/admin/orders?user_id=${user.id}`}
        className="inline-flex min-h-11 items-center px-1 font-semibold text-brand underline underline-offset-4"
        aria-label={t('customers.ordersOf', { name })}
      >
        {t('orders.title')}
      </Link>
      {/* Who takes their own rights away cannot give them back. */}
      {!self &&
        ways.map(({ way, body }) => (
          <ConfirmButton
            key={way}
            look="plain"
            label={t(`customers.${way}.do`)}
            accessibleLabel={`${t(`customers.${way}.do`)}: ${name}`}
            title={t(`customers.${way}.title`, { name })}
            text={t(`customers.${way}.text`)}
            confirm={t(`customers.${way}.do`)}
            action={() => change(user.id, body)}
          />
        ))}
    </span>
  );
}
