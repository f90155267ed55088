import type { ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import type { Product } from '../../api/types';
import { useCategoryName } from '../../catalogue/category-name';
import { useFormat } from '../../i18n/format';
import { ProductImage } from '../../ui/product-image';
import type { Column } from '../ui/table';

/** What lists show of products; each gives their names its own look. */
export function useProductColumns(nameOf: (product: Product) => ReactNode): Column<Product>[] {
  const { t } = useTranslation('admin');
  const { rupees, dateTime } = useFormat();
  const category = useCategoryName();
  return [
    {
      header: t('products.name'),
      cell: (product) => (
        <span className="flex items-center gap-3">
          <ProductImage product={product} size={44} className="size-11 shrink-0 rounded-md" />
          {nameOf(product)}
        </span>
      ),
    },
    { header: t('products.sku'), cell: ({ sku }) => sku ?? '–' },
    { header: t('products.category'), cell: (row) => row.category && category(row.category) },
    { header: t('products.price'), cell: ({ price }) => rupees(price), numeric: true },
    {
      header: t('products.stock'),
      cell: ({ stock_quantity }) => (
        <span className={stock_quantity === 0 ? 'font-semibold text-danger' : ''}>
          {stock_quantity}
        </span>
      ),
      numeric: true,
    },
    { header: t('products.changed'), cell: ({ updated_at }) => dateTime(updated_at), whole: true },
  ];
}
