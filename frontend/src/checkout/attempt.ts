import type { components } from '../api/schema';
import { randomKey } from '../lib/random';
import { slot } from '../lib/storage';

export type OrderRequest = components['schemas']['CreateOrder'];

/** An order that has been sent and not been answered. */
export type Attempt = { key: string; user_id: string; request: OrderRequest };

function isAttempt(value: unknown): value is Attempt {
  return typeof value === 'object' && value !== null && 'key' in value && 'request' in value;
}

const stored = slot('bharatmart.attempt', isAttempt);

/** The attempt that a reload, or an ended session, has left behind. Another user's is none of this one's. */
export function openAttempt(userId: string): Attempt | null {
  const attempt = stored.read();
  return attempt?.user_id === userId ? attempt : null;
}

/**
 * The attempt to order this, under the key that it has had from the first click on, in whichever tab that was: the
 * API carries out one key once.
 */
export function beginAttempt(userId: string, request: OrderRequest): Attempt {
  const open = openAttempt(userId);
  if (open && JSON.stringify(open.request) === JSON.stringify(request)) return open;
  const attempt = { key: randomKey(), user_id: userId, request };
  stored.write(attempt);
  return attempt;
}

export function endAttempt({ key }: Attempt) {
  if (stored.read()?.key === key) stored.write(null);
}
