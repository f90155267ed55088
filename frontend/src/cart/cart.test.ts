import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Product } from '../api/types';
import { cart, countOf } from './cart';
import { checkLine } from './checked-cart';

const atta: Product = {
  id: 'atta',
  name: 'Atta',
  description: null,
  price: 465,
  category: 'Groceries',
  image_url: null,
  is_active: true,
  stock_quantity: 3,
  sku: null,
  created_at: '2026-01-01T00:00:00Z',
  updated_at: '2026-01-01T00:00:00Z',
};
const ghee: Product = { ...atta, id: 'ghee', name: 'Ghee', price: 645 };

beforeEach(() => localStorage.clear());

describe('the cart', () => {
  it('takes no more of a product than there are', () => {
    for (let times = 0; times < 5; times += 1) cart.add(atta);
    expect(countOf(cart.lines())).toBe(3);
  });

  it('is the same in another tab', () => {
    const listener = vi.fn();
    const unsubscribe = cart.subscribe(listener);
    cart.add(atta);
    const kept = localStorage.getItem('bharatmart.cart') ?? '';
    localStorage.setItem('bharatmart.cart', kept.replace('"quantity":1', '"quantity":2'));
    window.dispatchEvent(new StorageEvent('storage', { key: 'bharatmart.cart' }));
    expect(listener).toHaveBeenCalledTimes(2);
    expect(countOf(cart.lines())).toBe(2);
    unsubscribe();
  });

  it('keeps what was added while the rest was ordered', () => {
    cart.add(atta);
    const ordered = cart.lines().map(({ product_id, quantity }) => ({ product_id, quantity }));
    cart.add(atta);
    cart.add(ghee);
    cart.removeOrdered(ordered);
    expect(cart.lines().map(({ name, quantity }) => [name, quantity])).toEqual([
      ['Atta', 1],
      ['Ghee', 1],
    ]);
  });

  it.each(['nonsense', '{}', '[{"product_id":1}]', '[{"product_id":"a","quantity":-1}]'])(
    'is empty when %s is found in its place',
    (kept) => {
      localStorage.setItem('bharatmart.cart', kept);
      expect(cart.lines()).toEqual([]);
    },
  );
});

describe('a line that is checked', () => {
  const line = { product_id: 'atta', quantity: 2, name: 'Atta', image_url: null, price: 400 };

  it('shows the price of now', () => {
    expect(checkLine(line, atta, false)).toMatchObject({ currentPrice: 465, obstacle: null });
  });

  it('cannot be ordered when too little is left', () => {
    expect(checkLine(line, { ...atta, stock_quantity: 1 }, false).obstacle).toBe('short');
    expect(checkLine(line, { ...atta, stock_quantity: 0 }, false).obstacle).toBe('outOfStock');
    expect(checkLine(line, null, true).obstacle).toBe('gone');
  });

  it('is taken as it was while the shop does not answer', () => {
    expect(checkLine(line, null, false)).toMatchObject({ currentPrice: 400, obstacle: null });
  });
});
