/** Enough of an id to tell rows of a page apart; ids of about the same time begin alike. */
export function shortId(id: string): string {
  return id.slice(-8);
}
