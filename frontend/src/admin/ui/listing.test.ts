import { describe, expect, it } from 'vitest';
import { listingOf, oneOf, paramsOf, requestOf } from './listing';

const NAMES = ['search', 'sort'] as const;

describe('an address of a list', () => {
  it('says which page and which filters', () => {
    const listing = listingOf(new URLSearchParams('search=tea&page=3&other=1'), NAMES);
    expect(listing).toEqual({ page: 3, filters: { search: 'tea', sort: '' } });
  });

  it.each(['0', '-1', '1.5', 'x', '', '99999999999999999999'])(
    'takes page %j for the first',
    (page) => {
      expect(listingOf(new URLSearchParams({ page }), NAMES).page).toBe(1);
    },
  );

  it('names only what narrows the list', () => {
    const listing = { page: 1, filters: { search: 'tea & milk', sort: '' } };
    expect(paramsOf(listing).toString()).toBe('search=tea+%26+milk');
    expect(paramsOf({ ...listing, page: 2 }).get('page')).toBe('2');
  });

  it('survives being written and read', () => {
    const listing = { page: 7, filters: { search: 'चाय', sort: '-price' } };
    expect(listingOf(paramsOf(listing), NAMES)).toEqual(listing);
  });
});

describe('the request of a list', () => {
  it('asks for the rows of its page and leaves empty filters out', () => {
    expect(requestOf({ page: 3, filters: { search: 'tea', sort: '' } }, 10)).toEqual({
      search: 'tea',
      limit: 10,
      offset: 20,
    });
  });
});

describe('oneOf', () => {
  it('knows the names of a set and no others', () => {
    expect(oneOf(NAMES, 'sort')).toBe('sort');
    expect(oneOf(NAMES, 'toString')).toBeUndefined();
  });
});
