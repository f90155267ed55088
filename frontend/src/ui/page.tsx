import { useEffect, useRef, type ReactNode } from 'react';
import { useTranslation } from 'react-i18next';
import { takeNavigation } from '../lib/navigation';

type Props = {
  title: string;
  /** Beside the heading. */
  aside?: ReactNode;
  width?: 'narrow' | 'wide';
  children: ReactNode;
};

/** A page: its title, and its heading, to which the focus goes when one comes from another page. */
export function Page({ title, aside, width = 'wide', children }: Props) {
  const { t } = useTranslation();
  const heading = useRef<HTMLHeadingElement>(null);

  useEffect(() => {
    document.title = `${title} · ${t('shop')}`;
  }, [title, t]);

  useEffect(() => {
    if (takeNavigation()) heading.current?.focus();
  }, []);

  return (
    <div className={`mx-auto w-full px-4 py-6 ${width === 'narrow' ? 'max-w-2xl' : 'max-w-6xl'}`}>
      <div className="mb-5 flex flex-wrap items-center justify-between gap-3">
        <h1 ref={heading} tabIndex={-1} className="text-2xl font-bold break-words sm:text-3xl">
          {title}
        </h1>
        {aside}
      </div>
      {children}
    </div>
  );
}
