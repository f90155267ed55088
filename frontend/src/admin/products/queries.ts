import { keepPreviousData, queryOptions } from '@tanstack/react-query';
import { api, read } from '../../api/client';
import type { paths } from '../../api/schema';
import type { ProductFilter } from '../../api/types';

/** The shop's pages may be some seconds old; whoever changes products sees them as they are. */
const cache = 'no-cache';

export const productsQuery = (filter: ProductFilter) =>
  queryOptions({
    queryKey: ['private', 'admin', 'products', filter],
    queryFn: ({ signal }) =>
      read(api.GET('/api/products', { params: { query: filter }, signal, cache })),
    placeholderData: keepPreviousData,
  });

export type OffSaleFilter = NonNullable<
  paths['/api/products/off-sale']['get']['parameters']['query']
>;

export const offSaleQuery = (filter: OffSaleFilter) =>
  queryOptions({
    queryKey: ['private', 'admin', 'products', 'off-sale', filter],
    queryFn: ({ signal }) =>
      read(api.GET('/api/products/off-sale', { params: { query: filter }, signal })),
    placeholderData: keepPreviousData,
  });

export const productQuery = (id: string) =>
  queryOptions({
    queryKey: ['private', 'admin', 'product', id],
    queryFn: ({ signal }) =>
      read(api.GET('/api/products/{id}', { params: { path: { id } }, signal, cache })),
    // A form is filled once; it must not begin with what has been sold meanwhile.
    staleTime: 0,
    gcTime: 0,
    refetchOnWindowFocus: false,
  });
