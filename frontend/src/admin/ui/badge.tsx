const TONES = {
  plain: 'bg-line text-ink',
  good: 'bg-leaf-soft text-leaf',
  waiting: 'bg-warn-soft text-warn',
  bad: 'bg-danger-soft text-danger',
};

export type Tone = keyof typeof TONES;

export function Badge({ tone = 'plain', children }: { tone?: Tone; children: string }) {
  return (
    <span
      className={`inline-block rounded-full px-2.5 py-0.5 text-sm font-medium whitespace-nowrap ${TONES[tone]}`}
    >
      {children}
    </span>
  );
}
