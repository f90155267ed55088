import { useQuery } from '@tanstack/react-query';
import { useId, type SubmitEvent } from 'react';
import { useTranslation } from 'react-i18next';
import { Button } from '../ui/button';
import { useCategoryName } from './category-name';
import { SORTS, type Listing, type Sort } from './filter';
import { categoriesQuery } from './queries';

type Props = { listing: Listing; onChange: (listing: Listing) => void };

/** Choices apply at once, prices when they are complete. On a phone the form is folded away. */
export function FilterForm({ listing, onChange }: Props) {
  const { t } = useTranslation();
  const wide = window.matchMedia('(min-width: 64rem)').matches;
  return (
    <details open={wide || isNarrowed(listing)} className="h-fit card p-4">
      <summary className="min-h-6 text-lg font-bold">{t('filter.title')}</summary>
      <div className="mt-4 grid gap-4">
        <SortChoice listing={listing} onChange={onChange} />
        <CategoryChoice listing={listing} onChange={onChange} />
        <label className="flex min-h-11 items-center gap-3 font-medium">
          <input
            type="checkbox"
            className="size-5 accent-brand"
            checked={listing.inStock}
            onChange={(event) => onChange({ ...listing, inStock: event.target.checked })}
          />
          {t('filter.inStock')}
        </label>
        <PriceRange
          // What is typed but not applied gives way when the address changes.
          key={`${listing.minPrice}-${listing.maxPrice}`}
          listing={listing}
          onChange={onChange}
        />
      </div>
    </details>
  );
}

/** By more than its category, which the heading says. */
function isNarrowed({ minPrice, maxPrice, inStock, sort }: Listing): boolean {
  return Boolean(minPrice || maxPrice || inStock || sort !== 'name');
}

function SortChoice({ listing, onChange }: Props) {
  const { t } = useTranslation();
  const id = useId();
  return (
    <div>
      <label htmlFor={id} className="mb-1 block font-medium">
        {t('filter.sort')}
      </label>
      <select
        id={id}
        className="field"
        value={listing.sort}
        onChange={(event) => onChange({ ...listing, sort: event.target.value as Sort })}
      >
        {SORTS.map((sort) => (
          <option key={sort} value={sort}>
            {t(`sort.${sort}`)}
          </option>
        ))}
      </select>
    </div>
  );
}

function CategoryChoice({ listing, onChange }: Props) {
  const { t } = useTranslation();
  const id = useId();
  const name = useCategoryName();
  const { data } = useQuery(categoriesQuery());
  const known = data?.data.map(({ category }) => category) ?? [];
  const categories = known.includes(listing.category) ? known : [listing.category, ...known];
  return (
    <div>
      <label htmlFor={id} className="mb-1 block font-medium">
        {t('filter.category')}
      </label>
      <select
        id={id}
        className="field"
        value={listing.category}
        onChange={(event) => onChange({ ...listing, category: event.target.value })}
      >
        <option value="">{t('filter.everyCategory')}</option>
        {categories
          .filter((category) => category !== '')
          .map((category) => (
            <option key={category} value={category}>
              {name(category)}
            </option>
          ))}
      </select>
    </div>
  );
}

function PriceRange({ listing, onChange }: Props) {
  const { t } = useTranslation();

  function submit(event: SubmitEvent<HTMLFormElement>) {
    event.preventDefault();
    const form = new FormData(event.currentTarget);
    const amount = (name: string) => (form.get(name) as string).trim();
    onChange({ ...listing, minPrice: amount('min'), maxPrice: amount('max') });
  }

  return (
    <form onSubmit={submit}>
      <fieldset className="grid grid-cols-2 gap-2">
        <legend className="mb-1 font-medium">{t('filter.price')}</legend>
        <Amount name="min" label={t('filter.from')} value={listing.minPrice} />
        <Amount name="max" label={t('filter.to')} value={listing.maxPrice} />
      </fieldset>
      <Button type="submit" look="secondary" className="mt-2 w-full">
        {t('filter.apply')}
      </Button>
    </form>
  );
}

function Amount({ name, label, value }: { name: string; label: string; value: string }) {
  return (
    <label className="text-sm text-muted">
      {label}
      <input
        name={name}
        type="number"
        inputMode="decimal"
        min="0"
        max="9999999999"
        step="0.01"
        defaultValue={value}
        className="field"
      />
    </label>
  );
}
