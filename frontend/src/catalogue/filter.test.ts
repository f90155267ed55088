import { expect, it } from 'vitest';
import { listingOf, paramsOf, requestOf } from './filter';

it('says in the address all that a list is narrowed to, and nothing else', () => {
  const address = 'search=tea&category=Groceries&min_price=10&in_stock=true&sort=-price&page=3';
  expect(paramsOf(listingOf(new URLSearchParams(address))).toString()).toBe(address);
  expect(paramsOf(listingOf(new URLSearchParams())).toString()).toBe('');
});

it('asks for the page that the address names', () => {
  expect(requestOf(listingOf(new URLSearchParams('page=3')))).toEqual({
    sort: 'name',
    limit: 24,
    offset: 48,
  });
});

it('overlooks what somebody has made of the address', () => {
  const listing = listingOf(new URLSearchParams('page=-1&sort=x&min_price=abc&in_stock=perhaps'));
  expect(paramsOf(listing).toString()).toBe('');
});
