import { expect, type Page, type Route } from '@playwright/test';
import type { Session } from './admin';
import type { Language } from './words';

type CartLine = { product_id: string; name: string; price: number; quantity: number };

type Visit = { language: Language; session?: Session; cart?: CartLine[] };

/** Begins where another visit has ended: with its language, its session and its cart. */
export async function visit(page: Page, { language, session, cart = [] }: Visit) {
  // A page of the same origin that does nothing by itself.
  const body = '<title>Begin</title><link rel="icon" href="/favicon.svg">';
  await page.route('**/begin', (route) => route.fulfill({ contentType: 'text/html', body }));
  await page.goto('/begin');
  await page.evaluate(
    ([chosen, signedIn, lines]) => {
      localStorage.setItem('bharatmart.language', chosen);
      localStorage.setItem('bharatmart.cart', JSON.stringify(lines));
      if (signedIn) localStorage.setItem('bharatmart.session', JSON.stringify(signedIn));
      else localStorage.removeItem('bharatmart.session');
    },
    [
      language,
      session && { refreshToken: session.refreshToken, user: session.user },
      cart.map((line) => ({ ...line, image_url: null })),
    ] as const,
  );
}

/** Opens a page and waits until all of it is there. */
export async function open(page: Page, path: string) {
  await page.goto(path);
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
  await expect(page.locator('.animate-pulse')).toHaveCount(0);
}

type Refusal = { status: number; code: string; retryAfter?: number };

/** Has the API refuse, which it cannot be brought to do at will; goes on until the returned function is called. */
export async function refuse(page: Page, url: string, { status, code, retryAfter }: Refusal) {
  const answer = (route: Route) =>
    route.fulfill({
      status,
      contentType: 'application/problem+json',
      headers: retryAfter === undefined ? {} : { 'retry-after': String(retryAfter) },
      body: JSON.stringify({ status, code, error: code, request_id: '4f1c2b9e-req' }),
    });
  await page.route(url, answer);
  return () => page.unroute(url, answer);
}

/** Has nobody answer, until the returned function is called. */
export async function hold(page: Page, url: string) {
  const held: Route[] = [];
  let isHolding = true;
  await page.route(url, async (route) => {
    if (isHolding) held.push(route);
    else await route.fallback();
  });
  return async () => {
    isHolding = false;
    // Of those that the page has given up meanwhile there is nothing to go on with.
    await Promise.allSettled(held.map((route) => route.continue()));
  };
}

/** Lets a page that gets no answer try in vain until it waits for long, and so holds still. Needs the page's clock. */
export async function tryInVain(page: Page) {
  const countdown = page.locator('[role=alert] [aria-live=off]');
  for (const seconds of [2, 4, 8]) {
    await expect(countdown.first()).toContainText(new RegExp(`\\b[1-${seconds}]\\b`));
    await page.clock.fastForward(seconds * 1000 + 500);
  }
  await expect(countdown.first()).toContainText(/\b1[0-6]\b/);
}
