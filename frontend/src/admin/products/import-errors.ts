import type { FieldError } from '../../api/problem';

/** What is wrong in one place of a file: `line 3: price`, or with a line as a whole: `line 6`. */
export type BadCell = { line: number; column: string; message: string };

export type ImportErrors = {
  cells: BadCell[];
  /** What is not about a line. */
  others: FieldError[];
};

export function importErrorsOf(fields: readonly FieldError[]): ImportErrors {
  const cells: BadCell[] = [];
  const others: FieldError[] = [];
  for (const error of fields) {
    const place = /^line (\d+)(?:: (.+))?$/.exec(error.field);
    if (!place) others.push(error);
    else cells.push({ line: Number(place[1]), column: place[2] ?? '', message: error.message });
  }
  return { cells: cells.sort((a, b) => a.line - b.line), others };
}

/** The lines of a file as an editor counts them, to show beside what is wrong with them. */
export function linesOf(text: string): string[] {
  return text.split(/\r\n|\r|\n/);
}
