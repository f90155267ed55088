/** Enough of an id to tell rows of a page apart. */
export function shortId(id: string): string {
  return id.slice(0, 8);
}
