import { atCheckout, orderCount, putIntoCart, withPaidOrder } from './support/customer';
import { expect, test } from './support/fixtures';
import { canControl, controlApi, restoreApi } from './support/stack';

test.skip(!canControl, 'needs STACK_CONTROL');
test.afterEach(restoreApi);

const SILENT = 'The shop does not answer just now.';
const LIVE = 'Live: this page follows the order.';

test.describe('an API that stops and comes back', () => {
  // The proxy's own words, the API's while it ends, and those of the browser when nobody is there.
  test.use({ refusals: ['500 /api/*', '502 /api/*', '503 /api/*', 'net *'] });

  test('is said, waited for, and costs nothing', async ({ page, admin }) => {
    const id = await admin.addProduct({ name: 'Poha', price: 55, stock_quantity: 9 });
    const order = await withPaidOrder(page, id);
    const second = await admin.addProduct({ name: 'Suji', price: 45, stock_quantity: 9 });
    await putIntoCart(page, second);
    await page.goto(`/orders/${order}`);
    await page.getByRole('link', { name: 'Cart, 1 item' }).click();
    await expect(page.getByText('Suji')).toBeVisible();
    await page.goBack();
    await expect(page.getByText(LIVE)).toBeVisible();

    controlApi('api-stop');
    await expect(page.getByText(SILENT).first()).toBeVisible();
    await expect(page.getByText(LIVE)).toBeHidden();
    await page.getByRole('link', { name: 'Cart, 1 item' }).click();
    await expect(page.getByText('Suji')).toBeVisible();
    // Neither this page nor its data has been here before.
    await page.getByRole('link', { name: 'Profile' }).click();
    await expect(page.getByText(SILENT).first()).toBeVisible();

    controlApi('api-start');
    await expect(page.getByLabel('Full name')).toHaveValue('Meera Iyer');
    await expect(page.getByText(SILENT)).toHaveCount(0);
    await page.goBack();
    await expect(page.getByText('Suji')).toBeVisible();
    await expect(page.getByRole('link', { name: 'Go to checkout' })).toBeVisible();
    await page.goBack();
    await expect(page.getByText(LIVE)).toBeVisible();
  });

  test('in the middle of an order makes one order', async ({ page, admin }) => {
    const id = await admin.addProduct({ name: 'Rajma', price: 95, stock_quantity: 9 });
    const customer = await atCheckout(page, id);
    controlApi('api-stop');
    await page.getByRole('button', { name: 'Place the order and pay' }).click();
    await expect(page.getByRole('alert')).toContainText(SILENT);
    await expect(page.getByRole('link', { name: 'Cart, 1 item' })).toBeVisible();
    controlApi('api-start');
    await expect(page.getByRole('heading', { name: 'Pay for your order' })).toBeVisible();
    expect(await orderCount(customer)).toBe(1);
  });
});

test.describe('an API that is stuck', () => {
  test.use({ refusals: ['net *'] });

  test('is waited for', async ({ page, admin }) => {
    const id = await admin.addProduct({ name: 'Moong', price: 65, stock_quantity: 9 });
    const customer = await atCheckout(page, id);
    controlApi('api-pause');
    await page.getByRole('button', { name: 'Place the order and pay' }).click();
    await expect(page.getByText('The shop is slow to answer just now.')).toBeVisible();
    await expect(page.getByRole('link', { name: 'Cart, 1 item' })).toBeVisible();
    controlApi('api-resume');
    await expect(page.getByRole('heading', { name: 'Pay for your order' })).toBeVisible();
    await expect(page.getByText('The shop is slow to answer just now.')).toBeHidden();
    expect(await orderCount(customer)).toBe(1);
  });

  test('for too long is asked again, for the same order', async ({ page, admin }) => {
    const id = await admin.addProduct({ name: 'Chana', price: 75, stock_quantity: 9 });
    await page.clock.install();
    const customer = await atCheckout(page, id);
    controlApi('api-pause');
    await page.getByRole('button', { name: 'Place the order and pay' }).click();
    await expect(page.getByRole('button', { name: 'One moment…' })).toBeVisible();
    await page.clock.fastForward(20_000);
    await expect(page.getByRole('alert')).toContainText(SILENT);
    await expect(page.getByText(/Trying again in \d+ second/)).toBeVisible();
    controlApi('api-resume');
    await expect(page.getByRole('heading', { name: 'Pay for your order' })).toBeVisible();
    await expect(page.getByText(SILENT)).toHaveCount(0);
    expect(await orderCount(customer)).toBe(1);
  });
});
