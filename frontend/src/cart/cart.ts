import { useSyncExternalStore } from 'react';
import type { Product } from '../api/types';
import { slot } from '../lib/storage';

/** What the cart remembers of a product; price and stock are asked for whenever the cart is looked at. */
export type CartLine = {
  product_id: string;
  quantity: number;
  name: string;
  image_url: string | null;
  /** The price that the customer has seen last. */
  price: number;
};

/** As many of a product as the API takes in one order. */
export const MOST = 10_000;

function isCart(value: unknown): value is CartLine[] {
  return Array.isArray(value) && value.every(isLine);
}

function isLine(value: unknown): value is CartLine {
  const line = value as Partial<CartLine> | null;
  return (
    typeof line?.product_id === 'string' &&
    typeof line.name === 'string' &&
    typeof line.price === 'number' &&
    Number.isInteger(line.quantity) &&
    (line.quantity ?? 0) > 0
  );
}

const stored = slot('bharatmart.cart', isCart);
const EMPTY: readonly CartLine[] = [];

function lines(): readonly CartLine[] {
  return stored.read() ?? EMPTY;
}

export const cart = {
  lines,
  subscribe: (listener: () => void) => stored.subscribe(listener),

  /** Puts one more into the cart, but no more than there are. */
  add(product: Product) {
    const line = lines().find(({ product_id }) => product_id === product.id);
    const quantity = Math.min((line?.quantity ?? 0) + 1, product.stock_quantity, MOST);
    if (quantity < 1) return;
    const next: CartLine = {
      product_id: product.id,
      quantity,
      name: product.name,
      image_url: product.image_url,
      price: product.price,
    };
    stored.write(line ? lines().map((old) => (old === line ? next : old)) : [...lines(), next]);
  },

  setQuantity(productId: string, quantity: number) {
    const bounded = Math.min(Math.max(1, Math.trunc(quantity)), MOST);
    change(productId, (line) => ({ ...line, quantity: bounded }));
  },

  /** The customer has taken note of what a product costs now. */
  acceptPrice(productId: string, price: number) {
    change(productId, (line) => ({ ...line, price }));
  },

  remove(productId: string) {
    stored.write(lines().filter(({ product_id }) => product_id !== productId));
  },

  /** Takes out what has been ordered. What another tab has added meanwhile stays. */
  removeOrdered(items: readonly { product_id: string; quantity: number }[]) {
    const ordered = new Map(items.map(({ product_id, quantity }) => [product_id, quantity]));
    stored.write(
      lines().flatMap((line) => {
        const quantity = line.quantity - (ordered.get(line.product_id) ?? 0);
        return quantity > 0 ? [{ ...line, quantity }] : [];
      }),
    );
  },
};

function change(productId: string, to: (line: CartLine) => CartLine) {
  stored.write(lines().map((line) => (line.product_id === productId ? to(line) : line)));
}

export function useCart(): readonly CartLine[] {
  return useSyncExternalStore(cart.subscribe, cart.lines);
}

export function countOf(cartLines: readonly CartLine[]): number {
  return cartLines.reduce((sum, { quantity }) => sum + quantity, 0);
}
