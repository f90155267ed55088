import { test as base, expect, type Page } from '@playwright/test';
import { Admin } from './admin';

type Fixtures = {
  admin: Admin;
  /** Refusals that a journey is about; the browser's console mentions each as an error. */
  refusals: number[];
  quiet: undefined;
};

/** Among refusals: a server that is away. */
export const NO_ANSWER = 0;
const AWAY = /net::ERR_(CONNECTION_REFUSED|CONNECTION_RESET|EMPTY_RESPONSE|INCOMPLETE_CHUNKED)/;

/** A browser whose console must stay empty, and an administrator who acts beside it. */
export const test = base.extend<Fixtures>({
  refusals: [[], { option: true }],
  // Playwright tells fixtures apart by the braces of their first argument.
  // eslint-disable-next-line no-empty-pattern
  admin: async ({}, use) => {
    const admin = await Admin.signIn();
    await use(admin);
    await admin.leave();
  },
  quiet: [
    async ({ context, refusals }, use) => {
      const said: string[] = [];
      const listen = (page: Page) => {
        page.on('pageerror', (error) => said.push(String(error)));
        page.on('console', (message) => {
          const isExpected = refusals.some((status) =>
            status === NO_ANSWER
              ? AWAY.test(message.text())
              : message.text().includes(`status of ${status}`),
          );
          if (['error', 'warning'].includes(message.type()) && !isExpected)
            said.push(message.text());
        });
      };
      context.on('page', listen);
      await use(undefined);
      expect(said, 'what the console says').toEqual([]);
    },
    { auto: true },
  ],
});

export { expect };
