import { describe, expect, it } from 'vitest';
import type { Product } from '../../api/types';
import { bodyOf, changesOf, IMAGE_URL, PRICE, QUANTITY, valuesOf } from './product-form-values';

const tea: Product = {
  id: '7f1c0d3e-0000-4000-8000-000000000001',
  name: 'Tea',
  price: 499.5,
  category: 'Groceries',
  description: null,
  image_url: null,
  sku: 'TEA-1',
  stock_quantity: 40,
  is_active: true,
  created_at: '2026-01-01T00:00:00Z',
  updated_at: '2026-01-01T00:00:00Z',
};

describe('what is sent of a product', () => {
  it('is numbers and texts without blanks around them, and null where nothing is typed', () => {
    const form = { ...valuesOf(), name: ' Tea ', price: '499.50', category: 'Food ', sku: ' ' };
    expect(bodyOf(form)).toEqual({
      name: 'Tea',
      price: 499.5,
      category: 'Food',
      stock_quantity: 0,
      sku: null,
      image_url: null,
      description: null,
    });
  });

  it('is nothing when nothing has changed', () => {
    expect(changesOf(valuesOf(tea), tea)).toEqual({});
    expect(changesOf({ ...valuesOf(tea), price: '499.50' }, tea)).toEqual({});
  });

  it('leaves the stock alone that has been sold meanwhile', () => {
    expect(changesOf({ ...valuesOf(tea), price: '450' }, tea)).toEqual({ price: 450 });
  });

  it('clears what has been emptied', () => {
    expect(changesOf({ ...valuesOf(tea), sku: '' }, tea)).toEqual({ sku: null });
  });
});

describe('what the form takes', () => {
  it.each(['0', '499', '499.5', '9999999999.99'])('price %s', (text) => {
    expect(text).toMatch(PRICE);
  });

  it.each(['', '-1', '1.555', '1,000', '₹5', '1e3', '10000000000'])('no price %j', (text) => {
    expect(text).not.toMatch(PRICE);
  });

  it('whole quantities up to what the API takes', () => {
    expect('1000000000').toMatch(QUANTITY);
    expect('1000000001').not.toMatch(QUANTITY);
    expect('1.5').not.toMatch(QUANTITY);
  });

  it('addresses of pictures', () => {
    expect('https://pictures.example/tea.jpg').toMatch(IMAGE_URL);
    expect('/pictures/tea.jpg').toMatch(IMAGE_URL);
    expect('javascript:alert(1)').not.toMatch(IMAGE_URL);
  });
});
