import { beforeEach, expect, it } from 'vitest';
import { beginAttempt, endAttempt, openAttempt } from './attempt';

const request = { items: [{ product_id: 'atta', quantity: 1 }], shipping_address: 'MG Road' };

beforeEach(() => localStorage.clear());

it('has one key for the same order until it is answered', () => {
  const first = beginAttempt('priya', request);
  expect(beginAttempt('priya', { ...request }).key).toBe(first.key);
  endAttempt(first);
  expect(beginAttempt('priya', request).key).not.toBe(first.key);
});

it('has another key for another order', () => {
  const first = beginAttempt('priya', request);
  expect(beginAttempt('priya', { ...request, shipping_address: 'Park Street' }).key).not.toBe(
    first.key,
  );
});

it('is not carried on for somebody else who signs in', () => {
  beginAttempt('priya', request);
  expect(openAttempt('arjun')).toBeNull();
  expect(openAttempt('priya')).not.toBeNull();
});
