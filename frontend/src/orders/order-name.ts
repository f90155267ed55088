/** Short enough to be read out on the phone; the end of an id differs most from others. */
export function orderName(id: string): string {
  return `#${id.slice(-8).toUpperCase()}`;
}
