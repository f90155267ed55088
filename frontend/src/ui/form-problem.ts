import type { FieldPath, FieldValues, UseFormSetError } from 'react-hook-form';
import { asProblem } from '../api/problem';

/** Puts what the API says of single fields beside them. What it says of others stays with the form (`Trouble`). */
export function showFieldErrors<F extends FieldValues>(
  error: unknown,
  fields: readonly FieldPath<F>[],
  setError: UseFormSetError<F>,
) {
  let first = true;
  for (const { field, message } of asProblem(error).fields) {
    const known = fields.find((name) => name === field);
    if (!known) continue;
    setError(known, { type: 'server', message }, { shouldFocus: first });
    first = false;
  }
}
