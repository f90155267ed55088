import { expect, it } from 'vitest';
import { needsSession } from './client';

it.each([
  ['GET', '/api/products?category=Books', false],
  ['GET', '/api/products/1', false],
  ['GET', '/api/products/off-sale?limit=20', true],
  ['POST', '/api/products', true],
  ['GET', '/api/orders?search=/api/products', true],
  ['POST', '/api/auth/login', false],
  ['POST', '/api/auth/verify-email', false],
  ['POST', '/api/auth/verify-email/request', true],
])('%s %s is asked as the user: %s', (method, path, isAsked) => {
  expect(needsSession(new Request(`https://api.shop.example${path}`, { method }))).toBe(isAsked);
});
