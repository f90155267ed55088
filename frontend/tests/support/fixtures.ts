import { test as base, expect, type BrowserContext, type ConsoleMessage } from '@playwright/test';
import { Admin } from './admin';

type Fixtures = {
  admin: Admin;
  /**
   * What a journey has refused on purpose, such as `409 /api/orders`, because the browser's own console mentions each
   * as an error. `net` stands for no answer at all, and `*` for any part of a path. Without a path: words of the error.
   */
  refusals: string[];
  /** Another browser, whose console must stay empty as well. */
  another: () => Promise<BrowserContext>;
  console: Console;
};

/** What the pages of some browsers say in their consoles, and ought not to. */
class Console {
  readonly said: string[] = [];

  constructor(private readonly refusals: string[]) {}

  listen(context: BrowserContext) {
    context.on('weberror', (error) => this.said.push(String(error.error())));
    context.on('console', (message) => {
      if (!['error', 'warning'].includes(message.type()) || this.isExpected(message)) return;
      this.said.push(`${message.text()} (${message.location().url})`);
    });
  }

  private isExpected(message: ConsoleMessage): boolean {
    const refused = /Failed to load resource: .*?(?:status of (\d+)|(net)::)/.exec(message.text());
    if (!refused)
      return this.refusals.some((words) => !/[*/]/.test(words) && message.text().includes(words));
    const { pathname } = new URL(message.location().url);
    return this.refusals.some((refusal) => {
      const [status = '', path = ''] = refusal.split(' ');
      const pattern = path.replace(/[.?]/g, '\\$&').replaceAll('*', '.*');
      return status === (refused[1] ?? refused[2]) && new RegExp(`^${pattern}$`).test(pathname);
    });
  }
}

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
  console: [
    async ({ context, refusals }, use) => {
      const console = new Console(refusals);
      console.listen(context);
      await use(console);
      expect(console.said, 'what the console says').toEqual([]);
    },
    { auto: true },
  ],
  another: async ({ browser, console }, use) => {
    const contexts: BrowserContext[] = [];
    await use(async () => {
      const context = await browser.newContext();
      contexts.push(context);
      console.listen(context);
      return context;
    });
    for (const context of contexts) await context.close();
  },
});

export { expect };
