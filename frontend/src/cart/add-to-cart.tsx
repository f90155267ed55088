import { useEffect, useState } from 'react';
import { useTranslation } from 'react-i18next';
import type { Product } from '../api/types';
import { Button } from '../ui/button';
import { cart, useCart } from './cart';

const SHOWN = 2000;

export function AddToCart({ product, label }: { product: Product; label: string }) {
  const { t } = useTranslation();
  const [added, setAdded] = useState(false);
  const inCart = useCart().find(({ product_id }) => product_id === product.id)?.quantity ?? 0;

  useEffect(() => {
    if (!added) return;
    const timer = setTimeout(() => setAdded(false), SHOWN);
    return () => clearTimeout(timer);
  }, [added]);

  if (product.stock_quantity === 0) return null;
  const all = inCart >= product.stock_quantity;
  return (
    <>
      <Button
        className="w-full max-sm:px-1 max-sm:text-sm"
        aria-label={label}
        disabled={all && !added}
        onClick={() => {
          cart.add(product);
          setAdded(true);
        }}
      >
        {added ? t('cart.added') : all ? t('cart.all') : t('cart.add')}
      </Button>
      <span role="status" className="sr-only">
        {added && t('cart.addedNamed', { name: product.name })}
      </span>
    </>
  );
}
