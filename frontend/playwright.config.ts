import { defineConfig, devices } from '@playwright/test';

const shop = process.env.SHOP_URL ?? 'http://localhost:4173';

const OUTAGES = '**/outages.spec.ts';
const STATES = '**/states-*.spec.ts';
/** Every state takes minutes: with QUICK=1 they are looked at on the phone only, which has the least room. */
const notOnDesktop = process.env.QUICK === '1' ? [OUTAGES, STATES] : OUTAGES;

const desktop = { viewport: { width: 1280, height: 800 } };
const phone = {
  ...devices['Galaxy S8'],
  viewport: { width: 360, height: 740 },
  deviceScaleFactor: 2,
};

/**
 * Against a running stack: API, workers, PostgreSQL, Redis, with the sandbox as its gateway. `API_URL` is its API,
 * which the built pages are put in front of, unless `SHOP_URL` says where they are served already.
 */
export default defineConfig({
  testDir: 'tests',
  outputDir: 'test-results',
  workers: 2,
  retries: 0,
  timeout: 60_000,
  expect: { timeout: 15_000 },
  reporter: [['list']],
  use: {
    baseURL: shop,
    // A trace would take longer than the test. What failed has its page's outline beside this picture.
    screenshot: 'only-on-failure',
    locale: 'en-IN',
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: [
        '--no-sandbox',
        '--headless',
        '--disable-gpu',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    },
  },
  // Outages are everybody's: they come when nobody else is in the shop any more.
  projects: [
    { name: 'desktop', use: desktop, testIgnore: notOnDesktop },
    { name: 'phone', use: phone, testIgnore: OUTAGES },
    {
      name: 'desktop-outages',
      use: desktop,
      testMatch: OUTAGES,
      dependencies: ['desktop', 'phone'],
    },
    { name: 'phone-outages', use: phone, testMatch: OUTAGES, dependencies: ['desktop-outages'] },
  ],
  ...(process.env.SHOP_URL
    ? {}
    : {
        webServer: {
          command: 'npm run preview',
          url: shop,
          env: {
            PORT: new URL(shop).port,
            API_PROXY: process.env.API_URL ?? 'http://localhost:3000',
          },
        },
      }),
});
