import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { api, read } from '../../api/client';

export const customersQuery = (page: { limit: number; offset: number }) =>
  queryOptions({
    queryKey: ['private', 'admin', 'users', page],
    queryFn: ({ signal }) => read(api.GET('/api/users', { params: { query: page }, signal })),
    placeholderData: keepPreviousData,
  });
