import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { api, read } from '../../api/client';
import type { components, paths } from '../../api/schema';

export type AuditEntry = components['schemas']['AuditEntry'];
export type AuditFilter = NonNullable<paths['/api/audit']['get']['parameters']['query']>;

export const auditQuery = (filter: AuditFilter) =>
  queryOptions({
    queryKey: ['private', 'admin', 'audit', filter],
    queryFn: ({ signal }) => read(api.GET('/api/audit', { params: { query: filter }, signal })),
    placeholderData: keepPreviousData,
  });
