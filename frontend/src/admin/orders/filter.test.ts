import { expect, it } from 'vitest';
import { ordersOf } from './filter';

const none = { status: '', from: '', to: '', user_id: '', number: '', sort: '' };

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

it('asks for a number as it is shown or read out, and for nothing like it', () => {
  expect(ordersOf({ ...none, number: '#6B9C678E' })).toEqual({ number: '#6B9C678E' });
  expect(ordersOf({ ...none, number: '6b9c678e' })).toEqual({ number: '6b9c678e' });
  expect(ordersOf({ ...none, number: '6b9c678' })).toEqual({});
});
