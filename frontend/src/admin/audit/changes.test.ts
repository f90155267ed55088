import { expect, it } from 'vitest';
import { changesOf } from './changes';

it('tells changed fields from what else belongs to an action', () => {
  expect(
    changesOf({
      price: { from: 499, to: 449 },
      sku: { from: 'TEA-1', to: null },
      queue: 'emails',
    }),
  ).toEqual([
    { field: 'price', from: '499', to: '449' },
    { field: 'sku', from: 'TEA-1', to: '–' },
    { field: 'queue', from: null, to: 'emails' },
  ]);
});
