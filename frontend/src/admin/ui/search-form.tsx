import { useTranslation } from 'react-i18next';
import { Button } from '../../ui/button';
import { Field } from '../../ui/field';

type Props = {
  label: string;
  /** What is looked for now. */
  value: string;
  onSearch: (text: string) => void;
  /** What its button says, if not that it searches. */
  button?: string;
};

export function SearchForm({ label, value, onSearch, button }: Props) {
  const { t } = useTranslation('admin');
  return (
    <form
      role="search"
      className="flex items-end gap-2"
      onSubmit={(event) => {
        event.preventDefault();
        onSearch((new FormData(event.currentTarget).get('search') as string).trim());
      }}
    >
      <div className="grow">
        <Field label={label} name="search" type="search" maxLength={200} defaultValue={value} />
      </div>
      <Button type="submit" look="secondary">
        {button ?? t('list.search')}
      </Button>
    </form>
  );
}
