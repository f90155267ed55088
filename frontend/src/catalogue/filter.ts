import type { ProductFilter } from '../api/types';

export const PAGE_SIZE = 24;

export const SORTS = ['name', 'price', '-price', '-created_at'] as const;
export type Sort = (typeof SORTS)[number];

/** What the address of a list says, so that it can be shared, reloaded and gone back to. */
export type Listing = {
  search: string;
  category: string;
  minPrice: string;
  maxPrice: string;
  inStock: boolean;
  sort: Sort;
  page: number;
};

export function listingOf(params: URLSearchParams): Listing {
  const page = Number(params.get('page') ?? 1);
  return {
    search: params.get('search') ?? '',
    category: params.get('category') ?? '',
    minPrice: amount(params.get('min_price')),
    maxPrice: amount(params.get('max_price')),
    inStock: params.get('in_stock') === 'true',
    sort: SORTS.find((sort) => sort === params.get('sort')) ?? 'name',
    page: Number.isInteger(page) && page > 0 ? page : 1,
  };
}

/** Only what differs from a plain list, in an order of its own. */
export function paramsOf(listing: Listing): URLSearchParams {
  const params = new URLSearchParams();
  if (listing.search) params.set('search', listing.search);
  if (listing.category) params.set('category', listing.category);
  if (listing.minPrice) params.set('min_price', listing.minPrice);
  if (listing.maxPrice) params.set('max_price', listing.maxPrice);
  if (listing.inStock) params.set('in_stock', 'true');
  if (listing.sort !== 'name') params.set('sort', listing.sort);
  if (listing.page > 1) params.set('page', String(listing.page));
  return params;
}

export function requestOf(listing: Listing): ProductFilter {
  return {
    ...(listing.search && { search: listing.search }),
    ...(listing.category && { category: listing.category }),
    ...(listing.minPrice && { min_price: Number(listing.minPrice) }),
    ...(listing.maxPrice && { max_price: Number(listing.maxPrice) }),
    ...(listing.inStock && { in_stock: true }),
    sort: listing.sort,
    limit: PAGE_SIZE,
    offset: (listing.page - 1) * PAGE_SIZE,
  };
}

/** An amount in rupees as the API takes it, or nothing. */
function amount(text: string | null): string {
  return text !== null && /^\d{1,10}(\.\d{1,2})?$/.test(text) ? text : '';
}
