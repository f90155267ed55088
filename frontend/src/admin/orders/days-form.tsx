import { useState } from 'react';
import { useTranslation } from 'react-i18next';
import { Button } from '../../ui/button';
import { Field } from '../../ui/field';

type Props = {
  from: string;
  to: string;
  onChange: (days: { from: string; to: string }) => void;
};

/** From which day to which. Applied when both are there, since a half typed year is a year as well. */
export function DaysForm({ from, to, onChange }: Props) {
  const { t } = useTranslation('admin');
  const [isReversed, setReversed] = useState(false);
  return (
    <form
      className="grid grid-cols-2 items-start gap-2 sm:grid-cols-[1fr_1fr_auto]"
      onSubmit={(event) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget);
        const days = { from: form.get('from') as string, to: form.get('to') as string };
        const reversed = days.from !== '' && days.to !== '' && days.to < days.from;
        setReversed(reversed);
        if (!reversed) onChange(days);
      }}
    >
      <Field label={t('export.from')} name="from" type="date" defaultValue={from} />
      <Field
        label={t('export.to')}
        name="to"
        type="date"
        defaultValue={to}
        error={isReversed ? t('orders.reversedDays') : undefined}
      />
      <div className="max-sm:col-span-2 sm:mt-7">
        <Button type="submit" look="secondary">
          {t('orders.showDays')}
        </Button>
      </div>
    </form>
  );
}
