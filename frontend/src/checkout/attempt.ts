import type { components } from '../api/schema';
import { randomKey } from '../lib/random';
import { slot } from '../lib/storage';

export type OrderRequest = components['schemas']['CreateOrder'];

/** An order that has been sent, for the first time at `begun_at` (milliseconds since 1970), and not been answered. */
export type Attempt = { key: string; user_id: string; begun_at: number; request: OrderRequest };

/** So long the API knows a key: later the same order under the same key would be another order. */
const REMEMBERED = 24 * 3_600_000;
/** So long a customer who has decided still waits for it. */
const WAITED_FOR = 10 * 60_000;

function isAttempt(value: unknown): value is Attempt {
  return typeof value === 'object' && value !== null && 'key' in value && 'begun_at' in value;
}

function isYounger({ begun_at }: Attempt, milliseconds: number): boolean {
  return Date.now() - begun_at < milliseconds;
}

const stored = slot('bharatmart.attempt', isAttempt);

/** The attempt that may have made an order. Another user's is none of this one's. */
function openAttempt(userId: string): Attempt | null {
  const attempt = stored.read();
  return attempt?.user_id === userId && isYounger(attempt, REMEMBERED) ? attempt : null;
}

/** The attempt that a reload, or an ended session, has interrupted, to be finished without being asked. */
export function interruptedAttempt(userId: string): Attempt | null {
  const attempt = openAttempt(userId);
  return attempt && isYounger(attempt, WAITED_FOR) ? attempt : null;
}

/**
 * The attempt to order this, under the key that it has had from the first click on, in whichever tab that was: the
 * API carries out one key once.
 */
export function beginAttempt(userId: string, request: OrderRequest): Attempt {
  const open = openAttempt(userId);
  if (open && isSame(open.request, request)) return open;
  const attempt = { key: randomKey(), user_id: userId, begun_at: Date.now(), request };
  stored.write(attempt);
  return attempt;
}

/** Another total is no other order: the first one may have been placed before the price rose. */
function isSame(one: OrderRequest, other: OrderRequest): boolean {
  const ordered = (request: OrderRequest) => JSON.stringify({ ...request, max_total: null });
  return ordered(one) === ordered(other);
}

export function endAttempt({ key }: Attempt) {
  if (stored.read()?.key === key) stored.write(null);
}
