import { useMutation, useQuery } from '@tanstack/react-query';
import { useId, useState } from 'react';
import { useForm, useWatch } from 'react-hook-form';
import { useTranslation } from 'react-i18next';
import { asProblem } from '../../api/problem';
import type { Product } from '../../api/types';
import { categoriesQuery } from '../../catalogue/queries';
import { Button } from '../../ui/button';
import { Field, TextArea } from '../../ui/field';
import { showFieldErrors } from '../../ui/form-problem';
import { Notice } from '../../ui/notice';
import { Trouble } from '../../ui/trouble';
import {
  FIELDS,
  IMAGE_URL,
  PRICE,
  QUANTITY,
  valuesOf,
  type ProductForm as Form,
} from './product-form-values';

type Props = {
  product?: Product;
  /** Sends the form; what it resolves to is what the form then shows. */
  save: (form: Form) => Promise<Product>;
};

export function ProductForm({ product, save }: Props) {
  const { t } = useTranslation('admin');
  const { t: shop } = useTranslation();
  const { register, handleSubmit, setError, reset, control, formState } = useForm<Form>({
    defaultValues: valuesOf(product),
  });
  const { errors } = formState;
  const imageUrl = useWatch({ control, name: 'image_url' }).trim();
  const saving = useMutation({
    mutationFn: save,
    onSuccess: (saved) => reset(valuesOf(saved)),
    onError: (error) => showFieldErrors(error, FIELDS, setError),
  });
  const submit = handleSubmit((form) => saving.mutate(form));
  const text = (maxLength: number) => ({
    validate: (value: string) => value.trim() !== '' || shop('validation.required'),
    maxLength: { value: maxLength, message: shop('validation.tooLong') },
  });
  const shape = (value: RegExp, message: string) => ({ pattern: { value, message } });
  const atMost = (value: number) => ({
    maxLength: { value, message: shop('validation.tooLong') },
  });

  return (
    <form
      noValidate
      className="grid gap-4 card p-4 sm:p-6"
      onSubmit={(event) => void submit(event)}
    >
      <Field
        label={t('products.name')}
        error={errors.name?.message}
        {...register('name', text(200))}
      />
      <div className="grid gap-4 sm:grid-cols-2">
        <Field
          label={t('products.priceIn')}
          inputMode="decimal"
          error={errors.price?.message}
          {...register('price', {
            required: shop('validation.required'),
            ...shape(PRICE, t('products.invalid.price')),
          })}
        />
        <Field
          label={t('products.stock')}
          inputMode="numeric"
          error={errors.stock_quantity?.message}
          {...register('stock_quantity', {
            required: shop('validation.required'),
            ...shape(QUANTITY, t('products.invalid.stock')),
          })}
        />
        <CategoryField error={errors.category?.message} {...register('category', text(100))} />
        <Field
          label={t('products.sku')}
          error={errors.sku?.message}
          {...register('sku', atMost(64))}
        />
      </div>
      <div className="flex flex-wrap items-start gap-4">
        <div className="min-w-56 grow">
          <Field
            label={t('products.image')}
            hint={t('products.imageHint')}
            inputMode="url"
            error={errors.image_url?.message}
            {...register('image_url', {
              ...shape(IMAGE_URL, t('products.invalid.image')),
              ...atMost(2000),
            })}
          />
        </div>
        <Preview key={imageUrl} url={imageUrl} />
      </div>
      <TextArea
        label={t('products.description')}
        rows={5}
        error={errors.description?.message}
        {...register('description', atMost(10_000))}
      />
      {saving.error && (
        <Trouble
          problem={asProblem(saving.error)}
          failures={saving.failureCount}
          // A new product may exist although the answer was lost; sent again by itself it would exist twice.
          onRetry={product || !isUnanswered(saving.error) ? () => void submit() : undefined}
        />
      )}
      {saving.isSuccess && !formState.isDirty && (
        <Notice tone="success" live>
          {t('products.saved')}
        </Notice>
      )}
      <Button type="submit" busy={saving.isPending}>
        {t('products.save')}
      </Button>
    </form>
  );
}

function isUnanswered(error: unknown): boolean {
  return asProblem(error).code === 'unreachable';
}

/** A category that exists, or a new one. */
function CategoryField(props: Omit<React.ComponentProps<typeof Field>, 'label' | 'list'>) {
  const { t } = useTranslation('admin');
  const list = useId();
  const { data } = useQuery(categoriesQuery());
  return (
    <div>
      <Field {...props} label={t('products.category')} list={list} autoComplete="off" />
      <datalist id={list}>
        {data?.data.map(({ category }) => (
          <option key={category} value={category} />
        ))}
      </datalist>
    </div>
  );
}

function Preview({ url }: { url: string }) {
  const { t } = useTranslation('admin');
  const [failed, setFailed] = useState(false);
  if (!IMAGE_URL.test(url)) return null;
  return failed ? (
    <p role="status" className="max-w-40 text-sm font-medium text-warn sm:mt-8">
      {t('products.imageBroken')}
    </p>
  ) : (
    <img
      src={url}
      alt={t('products.imagePreview')}
      width={96}
      height={96}
      className="size-24 rounded-lg border border-line object-cover"
      onError={() => setFailed(true)}
    />
  );
}
