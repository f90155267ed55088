import { guessPasswords } from './support/admin';
import { atCheckout, fillAddress, orderCount, putIntoCart } from './support/customer';
import { expect, test } from './support/fixtures';
import { Shopper } from './support/shopper';
import { open, visit } from './support/visit';

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

test.describe('a session that ends in the middle of a checkout', () => {
  test.use({ refusals: ['401 /api/auth/refresh', '401 /api/orders'] });

  test('keeps the cart and the order that was meant', async ({ page, admin }) => {
    const millet = { name: 'Millet', price: 90, stock_quantity: 9 };
    const product_id = await admin.addProduct(millet);
    const shopper = await Shopper.signUp();
    const cart = [{ product_id, name: millet.name, price: millet.price, quantity: 1 }];
    await visit(page, { language: 'en', session: shopper.session, cart });
    await open(page, '/checkout');
    await fillAddress(page);
    // Signed out from elsewhere, which the page learns when its token has run out.
    await shopper.signOut();
    await page.clock.setFixedTime(Date.now() + 20 * 60_000);
    await page.getByRole('button', { name: 'Place the order and pay' }).click();
    await expect(page.getByText('Your session has ended.')).toBeVisible();
    await expect(page.getByRole('link', { name: 'Cart, 1 item' })).toBeVisible();
    await page.clock.setFixedTime(Date.now());
    await page.getByLabel('E-mail').fill(shopper.customer.email);
    await page.getByLabel('Password', { exact: true }).fill(shopper.customer.password);
    await page.locator('main').getByRole('button', { name: 'Sign in' }).click();
    await expect(page.getByRole('heading', { name: 'Pay for your order' })).toBeVisible();
    expect(await orderCount(shopper.customer)).toBe(1);
    await shopper.leave();
  });
});

test.describe('a busy shop', () => {
  test.use({ refusals: ['503 /api/*', '429 /api/auth/login', '401 /api/auth/login'] });

  const overloaded = {
    status: 503,
    headers: { 'retry-after': '2', 'content-type': 'application/problem+json' },
    body: '{"code":"overloaded"}',
  };

  test('is asked again when it says so, for one order', async ({ page, admin }) => {
    const id = await admin.addProduct({ name: 'Ragi', price: 60, stock_quantity: 9 });
    const customer = await atCheckout(page, id);
    let refused = 0;
    await page.route('**/api/orders', (route) => {
      refused += 1;
      return refused > 1 ? route.continue() : route.fulfill(overloaded);
    });
    await page.getByRole('button', { name: 'Place the order and pay' }).click();
    await expect(page.getByText('The shop is very busy just now.')).toBeVisible();
    await expect(page.getByText(/Trying again in [12] second/)).toBeVisible();
    await expect(page.getByRole('heading', { name: 'Pay for your order' })).toBeVisible();
    expect(await orderCount(customer)).toBe(1);
  });

  test('that has had too many tries counts down', async ({ page }) => {
    const shopper = await Shopper.signUp();
    const { email, password } = shopper.customer;
    await guessPasswords(email);
    await page.goto('/sign-in');
    await page.getByLabel('E-mail').fill(email);
    await page.getByLabel('Password', { exact: true }).fill(password);
    await page.locator('main').getByRole('button', { name: 'Sign in' }).click();
    const alert = page.getByRole('alert');
    await expect(alert).toContainText('Too many tries. Please wait a moment.');
    const left = async () => Number(/in (\d+) second/.exec(await alert.innerText())?.[1]);
    const first = await left();
    expect(first).toBeGreaterThan(20);
    await expect.poll(left).toBeLessThan(first);
    await shopper.leave();
  });
});

test.describe('a phone without a network', () => {
  test.use({ refusals: ['net *'] });

  test('says so, and the cart is whole', async ({ page, context, admin }) => {
    const id = await admin.addProduct({ name: 'Besan', price: 85, stock_quantity: 9 });
    await putIntoCart(page, id);
    await context.setOffline(true);
    await expect(page.getByText('You are offline.')).toBeVisible();
    await expect(page.getByRole('link', { name: 'Cart, 1 item' })).toBeVisible();
    await context.setOffline(false);
    await expect(page.getByText('You are offline.')).toBeHidden();
  });
});

test.describe('a picture that is gone', () => {
  test.use({ refusals: ['net /favicon.svg'] });

  test('is replaced by one of the shop', async ({ page, baseURL, admin }) => {
    // There is one, but not for this browser: others meet this product, too.
    const image_url = new URL('/favicon.svg?hing', baseURL).href;
    await page.route(image_url, (route) => route.abort());
    const product = { name: 'Hing', price: 95, stock_quantity: 9 };
    const id = await admin.addProduct({ ...product, image_url });
    await page.goto(`/products/${id}`);
    const picture = page.getByRole('main').locator('img').first();
    await expect(picture).not.toHaveAttribute('src', image_url);
    await expect
      .poll(() => picture.evaluate((image: HTMLImageElement) => image.naturalWidth))
      .toBeGreaterThan(0);
  });
});
