import type { ReactNode } from 'react';

const TONES = {
  info: 'border-line bg-card',
  success: 'border-leaf bg-leaf-soft text-leaf',
  warning: 'border-warn bg-warn-soft text-warn',
  danger: 'border-danger bg-danger-soft text-danger',
};

type Props = {
  tone?: keyof typeof TONES;
  /** Whether it appears because of what the user did, and is to be read out. */
  live?: boolean;
  children: ReactNode;
};

export function Notice({ tone = 'info', live = false, children }: Props) {
  const role = live ? (tone === 'danger' ? 'alert' : 'status') : undefined;
  return (
    <div role={role} className={`rounded-lg border px-4 py-3 ${TONES[tone]}`}>
      {children}
    </div>
  );
}
