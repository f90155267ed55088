import type { components } from '../../api/schema';
import type { Product } from '../../api/types';

type Changes = components['schemas']['UpdateProduct'];
type Body = Required<Changes>;

/** What the form holds: texts, as they are typed. */
export type ProductForm = { [Name in keyof Body]: string };

export const FIELDS = [
  'name',
  'price',
  'category',
  'stock_quantity',
  'sku',
  'image_url',
  'description',
] as const satisfies readonly (keyof ProductForm)[];

export const PRICE = /^\d{1,10}(\.\d{1,2})?$/;
export const QUANTITY = /^\d{1,9}$|^1000000000$/;
export const IMAGE_URL = /^(https?:\/\/\S+|\/\S*)$/;

export function valuesOf(product?: Product): ProductForm {
  return {
    name: product?.name ?? '',
    price: product ? String(product.price) : '',
    category: product?.category ?? '',
    stock_quantity: String(product?.stock_quantity ?? 0),
    sku: product?.sku ?? '',
    image_url: product?.image_url ?? '',
    description: product?.description ?? '',
  };
}

export function bodyOf(form: ProductForm): Body {
  const optional = (text: string) => text.trim() || null;
  return {
    name: form.name.trim(),
    price: Number(form.price),
    category: form.category.trim(),
    stock_quantity: Number(form.stock_quantity),
    sku: optional(form.sku),
    image_url: optional(form.image_url),
    description: optional(form.description),
  };
}

/**
 * Only what has been changed: the stock goes on being sold while the form is open, and sending it back as it was
 * would undo that.
 */
export function changesOf(form: ProductForm, before: Product): Changes {
  const old = bodyOf(valuesOf(before));
  const now = Object.entries(bodyOf(form));
  const changed = now.filter(([name, value]) => value !== old[name as keyof Body]);
  return Object.fromEntries(changed);
}
