import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { beginAttempt, endAttempt, interruptedAttempt } from './attempt';

const request = { items: [{ product_id: 'atta', quantity: 1 }], shipping_address: 'MG Road' };

beforeEach(() => localStorage.clear());
afterEach(() => vi.useRealTimers());

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

it('has the same key when the price has changed, and asks for what was agreed to first', () => {
  const first = beginAttempt('priya', { ...request, max_total: 20 });
  expect(beginAttempt('priya', { ...request, max_total: 30 })).toEqual(first);
});

it('is not carried on for somebody else who signs in', () => {
  beginAttempt('priya', request);
  expect(interruptedAttempt('arjun')).toBeNull();
  expect(interruptedAttempt('priya')).not.toBeNull();
});

it('is finished unasked for some minutes, and has its key for as long as the API knows that', () => {
  vi.useFakeTimers();
  const first = beginAttempt('priya', request);
  vi.advanceTimersByTime(9 * 60_000);
  expect(interruptedAttempt('priya')).toEqual(first);
  vi.advanceTimersByTime(60_000);
  expect(interruptedAttempt('priya')).toBeNull();
  vi.advanceTimersByTime(23 * 3_600_000);
  expect(beginAttempt('priya', request).key).toBe(first.key);
  vi.advanceTimersByTime(3_600_000);
  expect(beginAttempt('priya', request).key).not.toBe(first.key);
});
