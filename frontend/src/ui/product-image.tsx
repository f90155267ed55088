import { useState } from 'react';

const files = import.meta.glob<string>('../assets/placeholders/*.svg', {
  eager: true,
  query: '?url',
  import: 'default',
});
const placeholders = Object.values(files);

/** The same product always has the same pattern. */
function placeholderOf(id: string): string | undefined {
  const sum = Array.from(id).reduce(
    (total, character) => (total * 31 + character.charCodeAt(0)) >>> 0,
    7,
  );
  return placeholders[sum % placeholders.length];
}

type Props = {
  product: { id: string; image_url?: string | null };
  size: number;
  /** The first pictures of a page are wanted at once. */
  eager?: boolean;
  className?: string;
};

/**
 * The picture of a product, beside its name and therefore without a text of its own. One that is gone, or that the
 * policy of the page refuses, is replaced.
 */
export function ProductImage({ product, size, eager = false, className = '' }: Props) {
  const [missing, setMissing] = useState<string>();
  const url = product.image_url === missing ? undefined : product.image_url;
  return (
    <img
      src={url ?? placeholderOf(product.id)}
      onError={() => setMissing(url ?? undefined)}
      alt=""
      width={size}
      height={size}
      loading={eager ? 'eager' : 'lazy'}
      decoding="async"
      className={`aspect-square object-cover ${className}`}
    />
  );
}
