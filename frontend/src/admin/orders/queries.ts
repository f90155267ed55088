import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { api, read } from '../../api/client';
import type { paths } from '../../api/schema';

export type OrderFilter = NonNullable<paths['/api/orders']['get']['parameters']['query']>;
export type ExportFilter = NonNullable<paths['/api/orders/export']['get']['parameters']['query']>;

const FOLLOWED = 10_000;

export const ordersQuery = (filter: OrderFilter) =>
  queryOptions({
    queryKey: ['private', 'admin', 'orders', filter],
    queryFn: ({ signal }) => read(api.GET('/api/orders', { params: { query: filter }, signal })),
    placeholderData: keepPreviousData,
    refetchInterval: FOLLOWED,
  });

export const orderQuery = (id: string) =>
  queryOptions({
    queryKey: ['private', 'admin', 'order', id],
    queryFn: ({ signal }) =>
      read(api.GET('/api/orders/{id}', { params: { path: { id } }, signal })),
    refetchInterval: FOLLOWED,
  });

export function exportOrders(filter: ExportFilter): Promise<Blob> {
  return read(api.GET('/api/orders/export', { params: { query: filter }, parseAs: 'blob' }));
}
