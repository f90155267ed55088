import type { ButtonHTMLAttributes } from 'react';
import { useTranslation } from 'react-i18next';

type Look = 'primary' | 'secondary' | 'danger' | 'plain';

const LOOKS: Record<Look, string> = {
  primary: 'bg-brand text-white hover:bg-brand-dark disabled:bg-[#75676a]',
  secondary:
    'border border-brand bg-card text-brand hover:bg-brand-soft disabled:border-muted disabled:text-muted',
  danger: 'border border-danger bg-card text-danger hover:bg-danger-soft',
  plain: 'text-brand underline underline-offset-4 hover:text-brand-dark',
};

/** The looks of a button, for links that stand beside buttons. */
export function buttonClass(look: Look = 'primary', more = ''): string {
  const shape = look === 'plain' ? 'px-1 py-2' : 'rounded-lg px-4 py-2.5';
  return `inline-flex min-h-11 items-center justify-center gap-2 font-semibold transition-colors ${shape} ${LOOKS[look]} ${more}`;
}

type Props = ButtonHTMLAttributes<HTMLButtonElement> & {
  look?: Look;
  /** Something is on its way: further clicks do nothing, and the focus stays where it is. */
  busy?: boolean;
};

export function Button({ look, busy = false, className, children, onClick, ...rest }: Props) {
  const { t } = useTranslation();
  return (
    <button
      type="button"
      {...rest}
      className={buttonClass(look, className)}
      aria-disabled={busy || undefined}
      onClick={(event) => {
        if (busy) event.preventDefault();
        else onClick?.(event);
      }}
    >
      {busy ? t('state.working') : children}
    </button>
  );
}
