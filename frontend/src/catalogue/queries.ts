import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { api, read } from '../api/client';
import type { ProductFilter } from '../api/types';

/** The browser asks whether what it has is still so: a stale price must not be shown. Mostly the answer is 304. */
const cache = 'no-cache';

export const productsQuery = (filter: ProductFilter) =>
  queryOptions({
    queryKey: ['products', filter],
    queryFn: ({ signal }) =>
      read(api.GET('/api/products', { params: { query: filter }, signal, cache })),
    placeholderData: keepPreviousData,
  });

export const productQuery = (id: string) =>
  queryOptions({
    queryKey: ['product', id],
    queryFn: ({ signal }) =>
      read(api.GET('/api/products/{id}', { params: { path: { id } }, signal, cache })),
  });

export const categoriesQuery = () =>
  queryOptions({
    queryKey: ['categories'],
    queryFn: ({ signal }) => read(api.GET('/api/categories', { signal })),
    staleTime: 5 * 60_000,
  });
