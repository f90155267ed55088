import { readFileSync } from 'node:fs';
import { openBackOffice, Queue } from './support/back-office';
import { expect, test } from './support/fixtures';
import { Shopper } from './support/shopper';

let serial = 0;

function unique(word: string): string {
  serial += 1;
  return `${word} ${Date.now()}-${process.pid}-${serial}`;
}

test.describe('products', () => {
  // A SKU that is taken.
  test.use({ refusals: ['409 /api/products'] });

  test('the administrator edits a product and the shop shows it', async ({
    page,
    admin,
    another,
  }) => {
    const name = unique('Kettle');
    const id = await admin.addProduct({ name, price: 1500, stock_quantity: 3 });
    const shopper = await (await another()).newPage();
    await shopper.goto(`/products/${id}`);
    await expect(shopper.getByText('₹1,500')).toBeVisible();

    await openBackOffice(page, '/admin/products');
    await page.getByLabel('Name, description or SKU').fill(name);
    await page.locator('main').getByRole('button', { name: 'Search' }).click();
    await expect(page).toHaveURL(/search=/);
    await page.getByRole('link', { name }).click();

    await page.getByLabel('SKU').fill('BM-TAKEN');
    await page.getByLabel('Price in ₹').fill('12,34');
    await page.getByRole('button', { name: 'Save' }).click();
    await expect(page.getByText('Please enter rupees')).toBeVisible();
    await page.getByLabel('Name', { exact: true }).fill(`${name} deluxe`);
    await page.getByLabel('Price in ₹').fill('123456.50');
    await page.getByLabel('SKU').fill('');
    await page.getByLabel('Stock').fill('0');
    await page.getByLabel('Address of the picture').fill('/favicon.svg');
    await expect(page.getByRole('img', { name: 'The picture' })).toBeVisible();
    await page.getByRole('button', { name: 'Save' }).click();
    await expect(page.getByText('Saved.')).toBeVisible();
    await expect(page.getByRole('heading', { level: 1 })).toHaveText(`${name} deluxe`);

    await expect(async () => {
      await shopper.reload();
      await expect(shopper.getByText('₹1,23,456.50')).toBeVisible({ timeout: 2000 });
    }).toPass();
    await expect(shopper.getByRole('heading', { level: 1 })).toHaveText(`${name} deluxe`);
    await expect(shopper.getByText('Out of stock')).toBeVisible();
    await expect(shopper.locator('main img[src="/favicon.svg"]')).toBeVisible();

    await page.getByRole('button', { name: 'Take off sale' }).click();
    await page.getByRole('button', { name: 'Yes, take it off sale' }).click();
    await expect(page).toHaveURL(/\/admin\/products$/);
  });

  test('a SKU that is taken is said beside its field', async ({ page }) => {
    const sku = unique('SKU').replace(/ /g, '-');
    await openBackOffice(page, '/admin/products/new');
    for (const turn of [1, 2]) {
      await page.getByRole('link', { name: 'Products', exact: true }).click();
      await page.getByRole('link', { name: 'New product' }).click();
      await page.getByLabel('Name', { exact: true }).fill(unique('Lamp'));
      await page.getByLabel('Price in ₹').fill('99.90');
      await page.getByLabel('Category').fill('Home and Kitchen');
      await page.getByLabel('SKU').fill(sku);
      await page.getByRole('button', { name: 'Save' }).click();
      if (turn === 1) await expect(page).toHaveURL(/\/admin\/products\/[0-9a-f-]{36}$/);
    }
    await expect(page.getByLabel('SKU')).toHaveAttribute('aria-invalid', 'true');
    await expect(page.getByLabel('SKU')).toBeFocused();
  });
});

test.describe('import', () => {
  test.use({ refusals: ['400 /api/products/import'] });

  test('each bad line is shown with its number, and the mended file is taken', async ({ page }) => {
    const sku = unique('IMPORT').replace(/ /g, '-');
    const file = (text: string) => ({
      name: 'products.csv',
      mimeType: 'text/csv',
      buffer: Buffer.from(`sku,name,price,category\n${text}`),
    });
    await openBackOffice(page, '/admin/products/import');
    await page
      .getByLabel('CSV file')
      .setInputFiles(file(`${sku},Tea,1.555,Food\n${sku}-2,,5,Food`));
    await page.getByRole('button', { name: 'Import' }).click();
    await expect(page.getByRole('alert')).toContainText('2 places in the file are wrong');
    const rows = page.getByRole('table').getByRole('row');
    await expect(rows.nth(1)).toContainText('Line 2');
    await expect(rows.nth(1)).toContainText('1.555');
    await expect(rows.nth(2)).toContainText('Line 3');
    await expect(rows.nth(2)).toContainText('name');

    await page.getByLabel('CSV file').setInputFiles(file(`${sku},Tea,1.55,Food`));
    await page.getByRole('button', { name: 'Import' }).click();
    await expect(page.getByText('1 product is new.')).toBeVisible();
  });
});

test('an order goes its way, and only its way', async ({ page, admin }) => {
  const product = await admin.addProduct({ name: unique('Rice'), price: 90, stock_quantity: 50 });
  const shopper = await Shopper.signUp();
  const id = await shopper.order(product, 'cash_on_delivery');
  await openBackOffice(page, '/admin/orders');
  // As the customer reads it out on the phone.
  const number = `#${id.slice(-8).toUpperCase()}`;
  await page.getByLabel('Order number').fill(number);
  await page.getByRole('button', { name: 'Find' }).click();
  await expect(page.getByText('1 entry')).toBeVisible();
  await page.getByRole('link', { name: number }).click();
  const standing = page.getByRole('region', { name: 'Status' });

  // The worker takes it; the page follows by itself.
  await expect(standing).toContainText('Being packed');
  await expect(standing.getByRole('button')).toHaveText(['Mark as shipped', 'Cancel the order']);
  await standing.getByRole('button', { name: 'Mark as shipped' }).click();
  await expect(standing).toContainText('Shipped');
  await expect(standing.getByRole('button')).toHaveText(['Mark as delivered']);
  await standing.getByRole('button', { name: 'Mark as delivered' }).click();
  await expect(standing).toContainText('This order has reached its end.');
  await expect(standing.getByRole('button')).toHaveCount(0);
  await shopper.leave();
});

test('a paid order is refunded', async ({ page, admin }) => {
  const product = await admin.addProduct({ name: unique('Oil'), price: 200, stock_quantity: 9 });
  const shopper = await Shopper.signUp();
  const id = await shopper.order(product, 'upi');
  await shopper.pay(id);
  await openBackOffice(page, `/admin/orders/${id}`);
  await page.getByRole('button', { name: 'Refund' }).click();
  const question = page.getByRole('alertdialog', { name: 'Refund ₹400?' });
  await expect(question).toBeFocused();
  // Taking it back costs one key and changes nothing.
  await page.keyboard.press('Escape');
  await expect(question).toBeHidden();
  await expect(page.getByRole('button', { name: 'Refund' })).toBeFocused();
  await page.keyboard.press('Enter');
  await question.getByRole('button', { name: 'Refund' }).click();
  await expect(page.getByRole('region', { name: 'Payment' })).toContainText('Refunded', {
    timeout: 30_000,
  });
  await expect(page.getByRole('region', { name: 'Status' })).toContainText('Cancelled');
  await shopper.leave();
});

test('orders are saved as CSV', async ({ page, admin }) => {
  const product = await admin.addProduct({ name: unique('Salt'), price: 20, stock_quantity: 9 });
  const shopper = await Shopper.signUp();
  const id = await shopper.order(product, 'cash_on_delivery');
  await openBackOffice(page, '/admin/orders');
  const download = page.waitForEvent('download');
  await page.getByRole('button', { name: 'Save CSV' }).click();
  const saved = await download;
  expect(saved.suggestedFilename()).toBe('orders.csv');
  const text = readFileSync(await saved.path(), 'utf8');
  expect(text).toMatch(/^id,created_at,status,/);
  expect(text).toContain(id);
  await shopper.leave();
});

test('a failed job is done again from the queue page', async ({ page, admin }) => {
  const product = await admin.addProduct({ name: unique('Dal'), price: 80, stock_quantity: 9 });
  const shopper = await Shopper.signUp();
  const id = await shopper.order(product, 'cash_on_delivery');
  const queue = new Queue('email-notifications');
  const job = `broken-${Date.now()}-${process.pid}`;
  const mail = {
    subject: 'On its way',
    body: 'Your order is on its way.',
    type: 'order_shipped',
    orderId: id,
  };
  queue.add(job, 'send-email', mail);

  await openBackOffice(page, '/admin/queues');
  const card = page.getByRole('region', { name: 'E-mails' });
  await expect(card.getByText('Failed')).toBeVisible();
  await card.getByRole('link').click();
  const failed = page.getByRole('article', { name: job });
  await expect(failed).toContainText('missing field `to`');
  queue.mend(job, { ...mail, to: shopper.customer.email });
  await failed.getByRole('button', { name: /^Do it again/ }).click();
  await expect(failed).toBeHidden();
  await page.getByLabel('State').selectOption('Done');
  await expect(page.getByRole('article', { name: job })).toBeVisible();
  await shopper.leave();
});

const QUEUES = {
  desktop: { queue: 'order-processing', area: 'orders' },
  phone: { queue: 'payment-processing', area: 'payments' },
};

test('failed jobs are removed together', async ({ page }, { project }) => {
  // Desktop and phone may do this at the same time.
  const { queue: name, area } = QUEUES[project.name === 'phone' ? 'phone' : 'desktop'];
  const queue = new Queue(name);
  const jobs = [1, 2].map((number) => `useless-${Date.now()}-${process.pid}-${number}`);
  for (const job of jobs) queue.add(job, 'useless', {});
  await openBackOffice(page, `/admin/queues/${area}`);
  for (const job of jobs) await expect(page.getByRole('article', { name: job })).toBeVisible();
  await page.getByRole('button', { name: /^Remove all/ }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Remove' }).click();
  await expect(page.getByRole('alertdialog')).toBeHidden();
  for (const job of jobs) await expect(page.getByRole('article', { name: job })).toBeHidden();
});

test('a customer is blocked and let in again', async ({ page }) => {
  const shopper = await Shopper.signUp();
  await openBackOffice(page, '/admin/customers');
  const row = page.getByRole('row').filter({ hasText: shopper.customer.email });
  await row.getByRole('button', { name: /^Block/ }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Block' }).click();
  await expect(row).toContainText('Blocked');
  await row.getByRole('button', { name: /^Unblock/ }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Unblock' }).click();
  await expect(row).toContainText('Active');
  await shopper.leave();
});

test.describe('too many requests', () => {
  test.use({ refusals: ['429 /api/audit'] });

  test('are counted down and tried again', async ({ page }) => {
    await openBackOffice(page, '/admin/orders');
    let refused = 0;
    await page.route('**/api/audit*', async (route) => {
      refused += 1;
      if (refused > 1) return route.fallback();
      await route.fulfill({
        status: 429,
        contentType: 'application/problem+json',
        headers: { 'retry-after': '2' },
        body: JSON.stringify({ status: 429, code: 'rate_limited', error: 'Too many requests' }),
      });
    });
    await page.getByRole('link', { name: 'Audit log' }).click();
    await expect(page.getByRole('alert')).toContainText(/Trying again in \d second/);
    await expect(page.getByRole('table')).toBeVisible();
  });
});
