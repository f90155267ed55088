import { useLocation, useSearchParams } from 'wouter';

export const PAGE_SIZE = 25;

/** What the address of a list says, so that it can be shared, reloaded and gone back to. */
export type Listing<F extends string> = { page: number; filters: Record<F, string> };

export function listingOf<F extends string>(
  params: URLSearchParams,
  names: readonly F[],
): Listing<F> {
  const page = Number(params.get('page') ?? 1);
  const filters = Object.fromEntries(names.map((name) => [name, params.get(name) ?? '']));
  return {
    page: Number.isSafeInteger(page) && page > 0 ? page : 1,
    filters: filters as Record<F, string>,
  };
}

/** Only what narrows the list. */
export function paramsOf({ page, filters }: Listing<string>): URLSearchParams {
  const params = new URLSearchParams(Object.entries(filters).filter(([, value]) => value !== ''));
  if (page > 1) params.set('page', String(page));
  return params;
}

/** The filters that are set, and which rows, as the API takes them. */
export function requestOf<F extends string>({ page, filters }: Listing<F>, pageSize = PAGE_SIZE) {
  const set = Object.entries(filters).filter(([, value]) => value !== '');
  return {
    ...(Object.fromEntries(set) as Partial<Record<F, string>>),
    limit: pageSize,
    offset: (page - 1) * pageSize,
  };
}

/** The list that the address asks for, and the ways to another one. */
export function useListing<F extends string>(names: readonly F[]) {
  const [params, setParams] = useSearchParams();
  const [path] = useLocation();
  const listing = listingOf(params, names);
  return {
    ...listing,
    /** For the `key` of inputs that are applied later: what is typed gives way when the address changes. */
    key: params.toString(),
    isFiltered: Object.values(listing.filters).some(Boolean),
    hrefOf: (page: number): string => {
      const text = paramsOf({ ...listing, page }).toString();
      return text ? `${path}?${text}` : path;
    },
    narrow: (change: Partial<Record<F, string>>) => {
      setParams(paramsOf({ page: 1, filters: { ...listing.filters, ...change } }));
    },
  };
}

/** One of the names, or nothing: addresses are typed by people. */
export function oneOf<N extends string>(names: readonly N[], text: string): N | undefined {
  return names.find((name) => name === text);
}
