import { useState, type ComponentProps } from 'react';
import { useTranslation } from 'react-i18next';
import { Field } from '../ui/field';

/** A password that can be looked at: on a phone it is easily mistyped. */
export function PasswordField(props: ComponentProps<typeof Field>) {
  const { t } = useTranslation();
  const [shown, setShown] = useState(false);
  return (
    <div>
      <Field {...props} type={shown ? 'text' : 'password'} autoCapitalize="none" />
      <label className="mt-1 flex min-h-9 items-center gap-2 text-sm">
        <input
          type="checkbox"
          className="size-5 accent-brand"
          checked={shown}
          onChange={(event) => setShown(event.target.checked)}
        />
        {t('account.show')}
      </label>
    </div>
  );
}
