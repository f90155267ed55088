import type { UseQueryResult } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { Loaded } from '../../ui/loaded';
import { Pagination } from '../../ui/pagination';
import { SkeletonRows } from '../../ui/skeleton';
import { PAGE_SIZE } from './listing';
import { Table, type Column } from './table';

type Props<T> = {
  query: UseQueryResult<{ data: T[]; count: number }>;
  caption: string;
  columns: readonly Column<T>[];
  keyOf: (row: T) => string;
  /** What stands there when there are no rows. */
  empty: ReactNode;
  page: number;
  hrefOf: (page: number) => string;
};

/** A page of a list of the API's, in each of its states. */
export function List<T>({ query, caption, columns, keyOf, empty, page, hrefOf }: Props<T>) {
  const { t } = useTranslation('admin');
  return (
    <section aria-label={caption} aria-busy={query.isPlaceholderData}>
      <Loaded query={query} skeleton={<SkeletonRows rows={6} />}>
        {({ data, count }) => (
          <>
            <p role="status" className="mb-3 text-muted">
              {t('list.count', { count })}
            </p>
            {data.length === 0 ? (
              <div className="card px-4 py-12 text-center text-lg">{empty}</div>
            ) : (
              <Table caption={caption} columns={columns} rows={data} keyOf={keyOf} />
            )}
            <Pagination page={page} pages={Math.ceil(count / PAGE_SIZE)} hrefOf={hrefOf} />
          </>
        )}
      </Loaded>
    </section>
  );
}
