// Lighthouse's mobile profile on the production build behind nginx: the median of some runs for each page, and a failure
// below the floors. `SHOP_URL` is where the shop is served; without it, nginx is started in front of `API_URL`.
import { chromium } from 'playwright-core';
import lighthouse from 'lighthouse';
import { startNginx } from './nginx.js';

const FLOORS = { performance: 95, accessibility: 100, 'best-practices': 100 };
const RUNS = 3;
const DEBUGGING_PORT = 9333;

const nginx = process.env.SHOP_URL
  ? null
  : await startNginx(process.env.API_URL ?? 'http://localhost:3000');
const shop = process.env.SHOP_URL ?? nginx.url;
// The browser's own context, because it is there that Lighthouse opens its tabs.
const browser = await chromium.launchPersistentContext('', {
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox', `--remote-debugging-port=${DEBUGGING_PORT}`],
});
try {
  const product = await fillCart();
  const below = [];
  for (const path of ['/', '/products', product, '/cart', '/sign-in']) {
    const reports = [];
    for (let run = 0; run < RUNS; run++) reports.push(await measure(path));
    below.push(...judge(path, reports));
  }
  for (const line of below) console.error(line);
  process.exitCode = below.length > 0 ? 1 : 0;
} finally {
  await browser.close();
  await nginx?.stop();
}

/** As a shopper does, and answers with the path of what is in it then. Lighthouse leaves the local storage alone. */
async function fillCart() {
  const page = await browser.newPage();
  await page.goto(`${shop}/products?in_stock=true`);
  await page.locator('main a[href^="/products/"]').first().click();
  await page.waitForURL(/\/products\/[^/]+$/);
  await page.getByRole('button', { name: 'Add to cart' }).click();
  await page.locator('header a[href="/cart"]', { hasText: '1' }).waitFor();
  const { pathname } = new URL(page.url());
  await page.close();
  return pathname;
}

async function measure(path) {
  const { lhr } = await lighthouse(shop + path, {
    port: DEBUGGING_PORT,
    onlyCategories: Object.keys(FLOORS),
    logLevel: 'error',
  });
  if (lhr.runtimeError) throw new Error(`${path}: ${lhr.runtimeError.message}`);
  return lhr;
}

/** Prints a page's numbers, and answers with what is below a floor and why. */
function judge(path, reports) {
  const scores = Object.keys(FLOORS).map((category) => {
    const ofRuns = reports.map((report) => Math.round(report.categories[category].score * 100));
    return [category, median(ofRuns), ofRuns];
  });
  const timings = ['first-contentful-paint', 'largest-contentful-paint', 'total-blocking-time']
    .map((audit) => median(reports.map((report) => report.audits[audit].numericValue)))
    .map((milliseconds) => `${Math.round(milliseconds)} ms`);
  // How fast this machine was meanwhile. The profile is meant for 1000 and more; below that, times are too long.
  const speed = median(reports.map((report) => report.environment.benchmarkIndex));
  const shift = median(reports.map((r) => r.audits['cumulative-layout-shift'].numericValue));
  console.log(
    `${path}: ${scores.map(([category, score]) => `${category} ${score}`).join(', ')}; ` +
      `FCP ${timings[0]}, LCP ${timings[1]}, TBT ${timings[2]}, CLS ${shift.toFixed(3)}; ` +
      `benchmark ${Math.round(speed)}`,
  );
  return scores
    .filter(([category, score]) => score < FLOORS[category])
    .map(([category, score, ofRuns]) => {
      const why = shortcomings(reports[0], category).join('\n  ');
      return `${path}: ${category} ${score} (${ofRuns.join(', ')}) is below ${FLOORS[category]}:\n  ${why}`;
    });
}

function median(numbers) {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
}

function shortcomings({ audits, categories }, category) {
  return categories[category].auditRefs
    .map(({ id }) => audits[id])
    .filter(({ score }) => score !== null && score < 1)
    .map(({ id, title, displayValue, details }) => {
      const where = (details?.items ?? []).flatMap((item) => item.node?.snippet ?? []);
      return [id, title, displayValue, ...where].filter(Boolean).join(' | ');
    });
}
