import { useId, type ReactNode } from 'react';

export function Section({ title, children }: { title: string; children: ReactNode }) {
  const id = useId();
  return (
    <section aria-labelledby={id} className="card p-4">
      <h2 id={id} className="mb-3 text-lg font-bold break-words">
        {title}
      </h2>
      {children}
    </section>
  );
}
