import type { FieldPath, FieldValues, UseFormSetError } from 'react-hook-form';
import { asProblem } from '../api/problem';
import { fieldText, loadFieldTexts } from './field-text';

/** Puts what the API says of single fields beside them. What it says of others stays with the form (`Trouble`). */
export async function showFieldErrors<F extends FieldValues>(
  error: unknown,
  fields: readonly FieldPath<F>[],
  setError: UseFormSetError<F>,
) {
  const problem = asProblem(error);
  if (problem.fields.length > 0) await loadFieldTexts();
  let first = true;
  for (const { field, message } of problem.fields) {
    const known = fields.find((name) => name === field);
    if (!known) continue;
    const text = fieldText(problem, message);
    setError(known, { type: 'server', message: text }, { shouldFocus: first });
    first = false;
  }
}
