/** One field of what was changed; `from` is null where it is not known, or was not there. */
export type Change = { field: string; from: string | null; to: string };

/** The API describes changes as fields with `from` and `to`, and whatever else belongs to an action as plain fields. */
export function changesOf(changes: Record<string, unknown>): Change[] {
  return Object.entries(changes).map(([field, value]) => {
    if (isChange(value)) return { field, from: textOf(value.from), to: textOf(value.to) };
    return { field, from: null, to: textOf(value) };
  });
}

function isChange(value: unknown): value is { from: unknown; to: unknown } {
  return typeof value === 'object' && value !== null && 'from' in value && 'to' in value;
}

function textOf(value: unknown): string {
  if (value === null || value === undefined || value === '') return '–';
  return typeof value === 'string' ? value : JSON.stringify(value);
}
