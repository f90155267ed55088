import { infiniteQueryOptions, queryOptions } from '@tanstack/react-query';
import { api, read } from '../api/client';

const PAGE_SIZE = 20;

export const ordersQuery = (userId: string) =>
  infiniteQueryOptions({
    queryKey: ['private', 'orders', userId],
    queryFn: ({ pageParam, signal }) => {
      // An administrator would otherwise see everybody's.
      const query = { user_id: userId, limit: PAGE_SIZE, ...(pageParam && { cursor: pageParam }) };
      return read(api.GET('/api/orders', { params: { query }, signal }));
    },
    initialPageParam: '',
    getNextPageParam: ({ next_cursor }) => next_cursor,
    staleTime: 0,
  });

export const orderQuery = (id: string) =>
  queryOptions({
    queryKey: ['private', 'order', id],
    queryFn: ({ signal }) =>
      read(api.GET('/api/orders/{id}', { params: { path: { id } }, signal })),
    staleTime: 0,
  });
