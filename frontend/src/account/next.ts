/** Where to go after signing in: a page of the shop's own, whatever somebody has put into a link. */
export function nextPage(params: URLSearchParams): string {
  const next = params.get('next') ?? '/';
  return /^\/(?![/\\])/.test(next) ? next : '/';
}

/** The other form, with the same way on. */
export function withNext(path: string, params: URLSearchParams): string {
  const next = nextPage(params);
  return next === '/' ? path : `${path}?next=${encodeURIComponent(next)}`;
}
