import { expect, it } from 'vitest';
import { ordersOf } from './filter';

const none = { status: '', from: '', to: '', user_id: '', sort: '' };

it('asks for all orders of the days from the first to the last one', () => {
  expect(ordersOf({ ...none, from: '2026-01-31', to: '2026-01-31' })).toEqual({
    from: '2026-01-30T18:30:00.000Z',
    to: '2026-01-31T18:30:00.000Z',
  });
});

it('leaves out what an address has by mistake', () => {
  expect(ordersOf({ ...none, status: 'lost', from: 'yesterday', to: '2026-02-45' })).toEqual({});
  expect(ordersOf({ ...none, status: 'shipped', user_id: 'x' })).toEqual({
    status: 'shipped',
    user_id: 'x',
  });
});
