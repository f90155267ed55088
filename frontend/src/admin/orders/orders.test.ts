import { describe, expect, it } from 'vitest';
import { endOfDay, startOfDay } from './day';
import { nextOf, nextOfPayment, ORDER_STATUSES } from './transitions';

describe('a day in India', () => {
  it('begins five and a half hours before the one in Greenwich', () => {
    expect(startOfDay('2026-01-31')).toBe('2026-01-30T18:30:00.000Z');
    expect(endOfDay('2026-01-31')).toBe('2026-01-31T18:30:00.000Z');
  });

  it('is nothing where no day is given', () => {
    expect(startOfDay('')).toBeUndefined();
    expect(endOfDay('2026-13-01')).toBeUndefined();
  });
});

describe('the way of an order', () => {
  it('leads to statuses that exist, and never back to the same one', () => {
    for (const status of ORDER_STATUSES) {
      expect(ORDER_STATUSES).toEqual(expect.arrayContaining([...nextOf(status)]));
      expect(nextOf(status)).not.toContain(status);
    }
  });

  it('ends when it is delivered or cancelled', () => {
    const final = ORDER_STATUSES.filter((status) => nextOf(status).length === 0);
    expect(final).toEqual(['delivered', 'cancelled']);
  });

  it('cannot be cancelled once it has left', () => {
    const cancellable = ORDER_STATUSES.filter((status) => nextOf(status).includes('cancelled'));
    expect(cancellable).toEqual(['pending', 'payment_failed', 'processing']);
  });
});

describe('a payment', () => {
  const asked = '2026-01-31T00:00:00Z';

  it('is refunded once', () => {
    expect(nextOfPayment({ status: 'completed', refund_requested_at: null })).toEqual(['refunded']);
    expect(nextOfPayment({ status: 'completed', refund_requested_at: asked })).toEqual([]);
    expect(nextOfPayment({ status: 'refunded', refund_requested_at: asked })).toEqual([]);
  });
});
