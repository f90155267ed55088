import { ADMIN, openSession } from './support/admin';
import { Queue } from './support/back-office';
import { expect, test } from './support/fixtures';
import { look } from './support/look';
import { Shopper } from './support/shopper';
import { hold, open, refuse, tryInVain, visit } from './support/visit';
import { LANGUAGES, wordsOf } from './support/words';

test.use({ contextOptions: { reducedMotion: 'reduce' } });

for (const language of LANGUAGES) {
  const words = wordsOf(language, 'admin');

  test.describe(language, () => {
    test.describe('the back office', () => {
      test.use({ refusals: ['404 /api/*'] });

      test('page by page', async ({ page, admin }, info) => {
        test.setTimeout(240_000);
        const product = await admin.addProduct({
          name: 'Handloom cotton bedsheet with two pillow covers, king size',
          price: 2499.5,
          stock_quantity: 120,
          category: 'Home and Kitchen',
        });
        const shopper = await Shopper.signUp();
        const paid = await shopper.order(product, 'upi');
        await shopper.pay(paid);
        const cash = await shopper.order(product, 'cash_on_delivery');
        const queue = new Queue('payment-processing');
        for (const number of [1, 2]) {
          queue.add(`page-${Date.now()}-${number}`, 'charge-payment', { paymentId: 'none' });
        }
        const pages = {
          orders: '/admin/orders',
          'orders-none': '/admin/orders?user_id=00000000-0000-4000-8000-000000000000',
          'order-paid': `/admin/orders/${paid}`,
          'order-cash': `/admin/orders/${cash}`,
          products: '/admin/products?sort=-price&page=2',
          'products-none': '/admin/products?search=nothing-is-called-so',
          product: `/admin/products/${product}`,
          'new-product': '/admin/products/new',
          'off-sale': '/admin/products/off-sale',
          import: '/admin/products/import',
          customers: '/admin/customers',
          queues: '/admin/queues',
          jobs: '/admin/queues/payments',
          'jobs-scheduled': '/admin/queues/orders?state=delayed',
          'jobs-none': '/admin/queues/orders?state=paused',
          system: '/admin/system',
          audit: '/admin/audit',
          'not-found': '/admin/no/such/page',
        };
        await visit(page, { language, session: await openSession(ADMIN) });
        for (const [name, path] of Object.entries(pages)) {
          await open(page, path);
          await expect(page.locator('html')).toHaveAttribute('lang', language);
          await look(page, info, `admin-${name}-${language}`);
        }
        await shopper.leave();
      });
    });

    test.describe('forms and questions of the back office', () => {
      test.use({ refusals: ['400 /api/products/*', '409 /api/*'] });

      test('with errors, and open', async ({ page, admin }, info) => {
        test.setTimeout(120_000);
        const product = await admin.addProduct({ name: 'Sindoor', price: 49, stock_quantity: 12 });
        const shopper = await Shopper.signUp();
        const paid = await shopper.order(product, 'upi');
        await shopper.pay(paid);
        await visit(page, { language, session: await openSession(ADMIN) });

        await open(page, '/admin/products/new');
        await page.locator('form.card button[type=submit]').click();
        await expect(page.locator('[aria-invalid=true]').first()).toBeVisible();
        await look(page, info, `admin-new-product-errors-${language}`);
        await open(page, '/admin/products/import');
        await page.locator('input[type=file]').setInputFiles({
          name: 'products.csv',
          mimeType: 'text/csv',
          buffer: Buffer.from('sku,name,price,category\nA,,x,Food\nA,Tea,1.555,\n'),
        });
        await page.locator('form.card button[type=submit]').click();
        await expect(page.getByRole('alert')).toBeVisible();
        await look(page, info, `admin-import-errors-${language}`);

        const questions = {
          'off-sale': [`/admin/products/${product}`, words('products.deactivate')],
          refund: [`/admin/orders/${paid}`, words('payment.to.refunded')],
          cancel: [`/admin/orders/${paid}`, words('order.to.cancelled')],
        } as const;
        for (const [name, [path, label]] of Object.entries(questions)) {
          await open(page, path);
          await page.getByRole('button', { name: label }).click();
          await expect(page.getByRole('alertdialog')).toBeVisible();
          await look(page, info, `admin-question-${name}-${language}`);
        }
        await shopper.leave();
      });
    });

    test.describe('a back office that is not well', () => {
      test.use({ refusals: ['429 /api/*', '500 /api/*', '503 /api/*', 'net *'] });

      test('in each of its states', async ({ page }, info) => {
        test.setTimeout(120_000);
        await visit(page, { language, session: await openSession(ADMIN) });
        const release = await hold(page, '**/api/orders?*');
        await page.goto('/admin/orders');
        await expect(page.locator('.animate-pulse').first()).toBeVisible();
        await look(page, info, `admin-loading-${language}`, { isLoading: true });
        await release();
        const troubles = {
          queues: { url: '**/api/queues/stats', status: 503, code: 'unavailable', retryAfter: 95 },
          products: { url: '**/api/products?*', status: 429, code: 'rate_limited', retryAfter: 95 },
          audit: { url: '**/api/audit?*', status: 500, code: 'internal_error' },
        };
        for (const [name, { url, ...refusal }] of Object.entries(troubles)) {
          const recover = await refuse(page, url, refusal);
          await open(page, `/admin/${name}`);
          await expect(page.getByRole('alert')).toBeVisible();
          await look(page, info, `admin-${name}-refused-${language}`);
          await recover();
        }
        await page.clock.install();
        await page.route('**/api/**', (route) => route.abort());
        await page.goto('/admin/customers');
        await tryInVain(page);
        await look(page, info, `admin-unreachable-${language}`);
      });
    });

    test('the back office for a customer', async ({ page }, info) => {
      const shopper = await Shopper.signUp();
      await visit(page, { language, session: shopper.session });
      await open(page, '/admin/orders');
      await expect(page.getByText(words('refusal.title'))).toBeVisible();
      await look(page, info, `admin-refusal-${language}`);
      await shopper.leave();
    });
  });
}
