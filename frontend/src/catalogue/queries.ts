import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { api, read } from '../api/client';
import type { ProductFilter } from '../api/types';

export const productsQuery = (filter: ProductFilter) =>
  queryOptions({
    queryKey: ['products', filter],
    queryFn: ({ signal }) => read(api.GET('/api/products', { params: { query: filter }, signal })),
    placeholderData: keepPreviousData,
  });

export const productQuery = (id: string) =>
  queryOptions({
    queryKey: ['product', id],
    queryFn: ({ signal }) =>
      read(api.GET('/api/products/{id}', { params: { path: { id } }, signal })),
  });

export const categoriesQuery = () =>
  queryOptions({
    queryKey: ['categories'],
    queryFn: ({ signal }) => read(api.GET('/api/categories', { signal })),
    staleTime: 5 * 60_000,
  });
