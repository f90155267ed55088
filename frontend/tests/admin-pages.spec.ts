import type { Page } from '@playwright/test';
import { openBackOffice, Queue, Shopper } from './support/back-office';
import { expect, test } from './support/fixtures';
import { look } from './support/look';

// What a customer is refused, and a file that is not taken.
test.use({ refusals: [400, 403, 404, 503] });

for (const language of ['en', 'hi']) {
  test.describe(language, () => {
    async function speak(page: Page) {
      await page.evaluate(
        (chosen) => localStorage.setItem('bharatmart.language', chosen),
        language,
      );
    }

    async function open(page: Page, path: string) {
      await page.goto(path);
      await expect(page.locator('html')).toHaveAttribute('lang', language);
      await page.waitForLoadState('networkidle');
    }

    test('pages of the back office', async ({ page, admin }, info) => {
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

      await openBackOffice(page, '/admin/orders');
      await speak(page);
      const pages = {
        orders: '/admin/orders',
        'orders-nothing': '/admin/orders?user_id=00000000-0000-4000-8000-000000000000',
        'order-paid': `/admin/orders/${paid}`,
        'order-cash': `/admin/orders/${cash}`,
        products: '/admin/products?sort=-price&page=2',
        'products-nothing': '/admin/products?search=nothing-is-called-so',
        product: `/admin/products/${product}`,
        'new-product': '/admin/products/new',
        import: '/admin/products/import',
        'off-sale': '/admin/products/off-sale',
        customers: '/admin/customers',
        queues: '/admin/queues',
        jobs: '/admin/queues/payments',
        'jobs-scheduled': '/admin/queues/orders?state=delayed',
        'jobs-none': '/admin/queues/orders?state=paused',
        system: '/admin/system',
        audit: '/admin/audit',
        'not-found': '/admin/no/such/page',
      };
      for (const [name, path] of Object.entries(pages)) {
        await open(page, path);
        await look(page, info, `admin-${name}-${language}`);
      }

      await open(page, '/admin/products/new');
      await page.locator('form.card button[type=submit]').click();
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

      await open(page, `/admin/products/${product}`);
      await page.locator('main section button').click();
      await expect(page.getByRole('alertdialog')).toBeVisible();
      await look(page, info, `admin-confirm-${language}`);

      await page.route('**/api/queues/stats', (route) =>
        route.fulfill({
          status: 503,
          contentType: 'application/problem+json',
          headers: { 'retry-after': '20' },
          body: JSON.stringify({ status: 503, code: 'unavailable', error: 'The queue is away' }),
        }),
      );
      await open(page, '/admin/queues');
      await expect(page.getByRole('alert')).toBeVisible();
      await look(page, info, `admin-queues-away-${language}`);
      await shopper.leave();
    });

    test('refusal', async ({ page }, info) => {
      const shopper = await Shopper.signUp();
      await openBackOffice(page, '/admin/orders', shopper.customer);
      await speak(page);
      await open(page, '/admin/orders');
      await look(page, info, `admin-refusal-${language}`);
      await shopper.leave();
    });
  });
}
