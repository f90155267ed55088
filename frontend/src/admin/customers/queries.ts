import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { api, read } from '../../api/client';
import type { paths } from '../../api/schema';

export type CustomerFilter = NonNullable<paths['/api/users']['get']['parameters']['query']>;

export const customersQuery = (filter: CustomerFilter) =>
  queryOptions({
    queryKey: ['private', 'admin', 'users', filter],
    queryFn: ({ signal }) => read(api.GET('/api/users', { params: { query: filter }, signal })),
    placeholderData: keepPreviousData,
  });

export const customerQuery = (id: string) =>
  queryOptions({
    queryKey: ['private', 'admin', 'user', id],
    queryFn: ({ signal }) => read(api.GET('/api/users/{id}', { params: { path: { id } }, signal })),
  });
