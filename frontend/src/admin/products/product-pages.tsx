import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Link, useLocation } from 'wouter';
import { api, read } from '../../api/client';
import { asProblem } from '../../api/problem';
import { queryClient } from '../../api/query-client';
import type { Product } from '../../api/types';
import { NotFoundPage } from '../../layout/not-found-page';
import { buttonClass } from '../../ui/button';
import { Loaded } from '../../ui/loaded';
import { Page } from '../../ui/page';
import { SkeletonRows } from '../../ui/skeleton';
import { ConfirmButton } from '../../ui/confirm-button';
import { refresh } from '../ui/refresh';
import { ProductForm } from './product-form';
import { bodyOf, changesOf } from './product-form-values';
import { productQuery } from './queries';

export function NewProductPage() {
  const { t } = useTranslation('admin');
  const [, navigate] = useLocation();
  return (
    <Page title={t('products.new')} width="narrow">
      <ProductForm
        save={async (form) => {
          const product = await read(api.POST('/api/products', { body: bodyOf(form) }));
          queryClient.setQueryData(productQuery(product.id).queryKey, product);
          await refresh();
          navigate(`/admin/products/${product.id}`);
          return product;
        }}
      />
    </Page>
  );
}

export function EditProductPage({ id }: { id: string }) {
  const { t } = useTranslation('admin');
  const product = useQuery(productQuery(id));
  if (product.isError && [400, 404].includes(asProblem(product.error).status)) {
    return <NotFoundPage />;
  }
  return (
    <Loaded
      query={product}
      skeleton={
        <div className="mx-auto w-full max-w-2xl px-4 py-6">
          <SkeletonRows rows={6} />
        </div>
      }
    >
      {(data) => (
        <Page
          title={data.name}
          width="narrow"
          aside={
            <Link href={`/products/${id}`} className={buttonClass('plain')}>
              {t('products.inShop')}
            </Link>
          }
        >
          <EditProduct product={data} />
        </Page>
      )}
    </Loaded>
  );
}

function EditProduct({ product }: { product: Product }) {
  const { t } = useTranslation('admin');
  const [, navigate] = useLocation();
  const path = { id: product.id };
  // What the form began with: what is sold while it is open is no change of the administrator's.
  const [before, setBefore] = useState(product);
  return (
    <div className="grid gap-6">
      <ProductForm
        product={before}
        save={async (form) => {
          const body = changesOf(form, before);
          const saved = await read(api.PUT('/api/products/{id}', { params: { path }, body }));
          queryClient.setQueryData(productQuery(product.id).queryKey, saved);
          setBefore(saved);
          await refresh();
          return saved;
        }}
      />
      <section aria-labelledby="off-sale" className="grid gap-3 card p-4 sm:p-6">
        <h2 id="off-sale" className="text-lg font-bold">
          {t('products.offSale')}
        </h2>
        <p>{t('products.offSaleText')}</p>
        <div>
          <ConfirmButton
            label={t('products.deactivate')}
            title={t('products.deactivateTitle', { name: product.name })}
            text={t('products.deactivateText')}
            confirm={t('products.deactivateYes')}
            action={async () => {
              await read(api.DELETE('/api/products/{id}', { params: { path } }));
              navigate('/admin/products');
              queryClient.removeQueries({ queryKey: productQuery(product.id).queryKey });
              await refresh();
            }}
          />
        </div>
      </section>
    </div>
  );
}
