import { beforeEach, expect, it, vi } from 'vitest';
import { connectApi } from '../api/client';
import { beginAttempt } from './attempt';
import { placeOrder } from './place-order';

const request = { items: [{ product_id: 'atta', quantity: 1 }], shipping_address: 'MG Road' };
const json = { 'content-type': 'application/problem+json' };

beforeEach(() => {
  localStorage.clear();
  connectApi('https://api.shop.example');
});

/** Tries it once, is answered so, and looks whether the next click is the same order. */
async function keepsItsKey(answer: () => Promise<Response>): Promise<boolean> {
  vi.spyOn(globalThis, 'fetch').mockImplementation(answer);
  const attempt = beginAttempt('priya', request);
  await expect(placeOrder(attempt)).rejects.toBeDefined();
  return beginAttempt('priya', request).key === attempt.key;
}

it.each([
  ['nobody answers', () => Promise.reject(new TypeError('failed to fetch'))],
  [
    'the answer breaks off',
    () =>
      Promise.resolve(
        new Response('{"id":"1', { status: 201, headers: { 'content-type': 'application/json' } }),
      ),
  ],
  [
    'the request took too long',
    () => Promise.resolve(new Response('{}', { status: 408, headers: json })),
  ],
  ['something broke', () => Promise.resolve(new Response('{}', { status: 500, headers: json }))],
])('is the same order again when %s', async (_, answer) => {
  expect(await keepsItsKey(answer)).toBe(true);
});

it('is another order after a refusal', async () => {
  const refused = () => Promise.resolve(new Response('{}', { status: 409, headers: json }));
  expect(await keepsItsKey(refused)).toBe(false);
});
