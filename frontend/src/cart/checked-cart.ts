import { useQueries } from '@tanstack/react-query';
import { asProblem } from '../api/problem';
import type { Product } from '../api/types';
import { productQuery } from '../catalogue/queries';
import { lineTotal, sumRupees } from '../lib/money';
import { useCart, type CartLine } from './cart';

/** A line beside what the shop says of it now. */
export type CheckedLine = CartLine & {
  /** Null while it is not known. */
  product: Product | null;
  obstacle: 'gone' | 'outOfStock' | 'short' | null;
  /** What it costs now, as far as is known. */
  currentPrice: number;
};

const CHECK_INTERVAL = 30_000;

export function checkLine(line: CartLine, product: Product | null, gone: boolean): CheckedLine {
  let obstacle: CheckedLine['obstacle'] = null;
  if (gone) obstacle = 'gone';
  else if (product?.stock_quantity === 0) obstacle = 'outOfStock';
  else if (product && product.stock_quantity < line.quantity) obstacle = 'short';
  return { ...line, product, obstacle, currentPrice: product?.price ?? line.price };
}

/** The cart as it could be ordered now. Prices and stock are asked for again while it is looked at. */
export function useCheckedCart() {
  const cartLines = useCart();
  const queries = useQueries({
    queries: cartLines.map(({ product_id }) => ({
      ...productQuery(product_id),
      staleTime: 0,
      refetchInterval: CHECK_INTERVAL,
    })),
  });
  const lines = cartLines.map((line, index) => {
    const query = queries[index];
    const gone = query?.isError === true && asProblem(query.error).status === 404;
    return checkLine(line, query?.data ?? null, gone);
  });
  return {
    lines,
    total: sumRupees(lines.map((line) => lineTotal(line.currentPrice, line.quantity))),
    isOrderable: lines.every(({ obstacle }) => obstacle === null),
    isChecked: lines.every(({ product }) => product !== null),
  };
}
