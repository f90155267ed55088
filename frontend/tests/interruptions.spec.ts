import { execFileSync } from 'node:child_process';
import { atCheckout, orderCount, putIntoCart, withPaidOrder } from './support/customer';
import { expect, NO_ANSWER, test } from './support/fixtures';

test('one order comes of many clicks and a reload in the middle', async ({ page, admin }) => {
  const id = await admin.addProduct({ name: 'Basmati', price: 700, stock_quantity: 50 });
  const customer = await atCheckout(page, id);
  // The API gets the order, but the answer does not get here.
  let sent = 0;
  await page.route('**/api/orders', async (route) => {
    sent += 1;
    // The first is never answered: the page is reloaded before.
    if (sent === 1) await route.fetch();
    else await route.continue();
  });
  const place = page.getByRole('button', { name: 'Place the order and pay' });
  await place.click();
  await expect.poll(() => sent).toBe(1);
  // Forced, because the button says that it is busy.
  await page.getByRole('button', { name: 'One moment…' }).click({ force: true });
  await page.reload();
  await expect(page.getByRole('heading', { name: 'Pay for your order' })).toBeVisible();
  expect(await orderCount(customer)).toBe(1);
  await expect(page.getByRole('link', { name: 'Cart, 0 items' })).toBeVisible();
});

test('two tabs share the cart, the session and its end', async ({ page, context, admin }) => {
  const id = await admin.addProduct({ name: 'Jaggery', price: 120, stock_quantity: 9 });
  const other = await context.newPage();
  await other.goto('/');
  await atCheckout(page, id);
  await expect(other.getByRole('link', { name: 'Cart, 1 item' })).toBeVisible();
  await expect(other.getByRole('link', { name: 'My orders' })).toBeVisible();

  let refreshes = 0;
  context.on('request', (request) => {
    if (request.url().endsWith('/api/auth/refresh')) refreshes += 1;
  });
  await Promise.all([page.goto('/orders'), other.goto('/profile')]);
  await expect(page.getByText('You have not ordered anything yet.')).toBeVisible();
  await expect(other.getByRole('heading', { name: 'Your profile' })).toBeVisible();
  await expect(other.getByLabel('Full name')).toBeVisible();
  expect(refreshes).toBeLessThanOrEqual(1);

  await other.getByRole('button', { name: 'Sign out' }).click();
  await expect(page.getByRole('heading', { name: 'Sign in' })).toBeVisible();
  await expect(page.getByRole('link', { name: 'Cart, 1 item' })).toBeVisible();
});

test('an order is followed live to the end', async ({ page, admin }) => {
  const id = await admin.addProduct({ name: 'Papad', price: 60, stock_quantity: 9 });
  const order = await withPaidOrder(page, id);
  await expect(page.getByText('Live: this page follows the order.')).toBeVisible();
  await admin.changeOrder(order, 'shipped');
  await expect(page.getByText('Shipped').first()).toBeVisible();
  await admin.changeOrder(order, 'delivered');
  await expect(page.getByText('This order has reached its end.')).toBeVisible();
});

test('an order is cancelled by the keyboard', async ({ page, admin }) => {
  const id = await admin.addProduct({ name: 'Pickle', price: 150, stock_quantity: 9 });
  await withPaidOrder(page, id);
  await page.getByRole('button', { name: 'Cancel the order' }).focus();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('alertdialog')).toBeVisible();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('button', { name: 'Cancel the order' })).toBeFocused();
  await page.keyboard.press('Enter');
  await page.getByRole('button', { name: 'Yes, cancel it' }).press('Enter');
  await expect(page.getByText('Cancelled').first()).toBeVisible();
});

test.describe('a session that ends in the middle of a checkout', () => {
  test.use({ refusals: [401] });

  test('keeps the cart and the order that was meant', async ({ page, admin }) => {
    const id = await admin.addProduct({ name: 'Millet', price: 90, stock_quantity: 9 });
    const customer = await atCheckout(page, id);
    await page.route('**/api/auth/refresh', (route) =>
      route.fulfill({
        status: 401,
        contentType: 'application/problem+json',
        body: '{"code":"unauthenticated"}',
      }),
    );
    await page.route('**/api/orders', (route) =>
      route.fulfill({
        status: 401,
        contentType: 'application/problem+json',
        body: '{"code":"unauthenticated"}',
      }),
    );
    await page.getByRole('button', { name: 'Place the order and pay' }).click();
    await expect(page.getByText('Your session has ended.')).toBeVisible();
    await expect(page.getByRole('link', { name: 'Cart, 1 item' })).toBeVisible();
    await page.unrouteAll();
    await page.getByLabel('E-mail').fill(customer.email);
    await page.getByLabel('Password', { exact: true }).fill(customer.password);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await expect(page.getByRole('heading', { name: 'Pay for your order' })).toBeVisible();
    expect(await orderCount(customer)).toBe(1);
  });
});

test.describe('a busy shop', () => {
  test.use({ refusals: [503, 429] });

  test('is asked again when it says so', async ({ page }) => {
    let refused = 0;
    await page.route('**/api/categories', (route) => {
      refused += 1;
      if (refused > 1) return route.continue();
      const headers = { 'retry-after': '3', 'content-type': 'application/problem+json' };
      return route.fulfill({ status: 503, headers, body: '{"code":"overloaded"}' });
    });
    await page.goto('/');
    await expect(page.getByText(/Trying again in [123] second/)).toBeVisible();
    await expect(page.getByRole('link', { name: /Groceries/ })).toBeVisible();
  });
});

test('being offline is said, and the cart is whole', async ({ page, context, admin }) => {
  const id = await admin.addProduct({ name: 'Besan', price: 85, stock_quantity: 9 });
  await putIntoCart(page, id);
  await context.setOffline(true);
  await expect(page.getByText('You are offline.')).toBeVisible();
  await expect(page.getByRole('link', { name: 'Cart, 1 item' })).toBeVisible();
  await context.setOffline(false);
  await expect(page.getByText('You are offline.')).toBeHidden();
});

/** A command that takes `api-stop` and `api-start`, and does it to the API of this stack. */
const control = process.env.STACK_CONTROL;

test.describe('an API that stops and comes back', () => {
  test.skip(!control, 'needs STACK_CONTROL');
  test.use({ refusals: [NO_ANSWER, 500, 502, 503, 504] });

  test('is said, waited for, and costs nothing', async ({ page, admin }) => {
    const id = await admin.addProduct({ name: 'Poha', price: 55, stock_quantity: 9 });
    const order = await withPaidOrder(page, id);
    const second = await admin.addProduct({ name: 'Suji', price: 45, stock_quantity: 9 });
    await putIntoCart(page, second);
    await page.goto(`/orders/${order}`);
    await expect(page.getByText('Live: this page follows the order.')).toBeVisible();
    execFileSync(control ?? '', ['api-stop']);
    try {
      await expect(page.getByText('The shop does not answer just now.').first()).toBeVisible();
      await page.getByRole('link', { name: 'Cart, 1 item' }).click();
      await expect(page.getByText('Suji')).toBeVisible();
    } finally {
      // Other journeys need it too.
      execFileSync(control ?? '', ['api-start']);
    }
    await expect(page.getByText('The shop does not answer just now.')).toHaveCount(0);
    await expect(page.getByRole('link', { name: 'Go to checkout' })).toBeVisible();
    await page.goBack();
    await expect(page.getByText('Live: this page follows the order.')).toBeVisible();
  });
});
