import {
  atCheckout,
  fillAddress,
  newCustomer,
  orderCount,
  payByUpi,
  signUp,
} from './support/customer';
import { expect, test } from './support/fixtures';

test('a new customer finds, orders and pays', async ({ page, admin }) => {
  const name = `Filter Coffee ${Date.now()}`;
  await admin.addProduct({ name, price: 1234567, stock_quantity: 5 });

  await page.goto('/');
  await page.getByRole('searchbox').fill(name);
  await page.getByRole('button', { name: 'Search', exact: true }).click();
  await page.getByRole('link', { name }).click();
  await expect(page.getByRole('heading', { name })).toBeFocused();
  await expect(page.getByText('₹12,34,567')).toBeVisible();
  await page.getByRole('button', { name: 'Add to cart' }).click();
  await page.getByRole('link', { name: 'Cart, 1 item' }).click();
  await page.getByRole('button', { name: `One more: ${name}` }).click();
  await expect(page.getByText('₹24,69,134').first()).toBeVisible();
  await page.getByRole('link', { name: 'Go to checkout' }).click();

  await page.getByRole('link', { name: 'Create an account' }).click();
  await signUp(page, newCustomer());
  await fillAddress(page);
  await page.getByRole('button', { name: 'Place the order and pay' }).click();
  await payByUpi(page, 'success@upi');
  await expect(page.getByRole('heading', { name: 'Payment received' })).toBeVisible();
  await page.getByRole('link', { name: 'Follow the order' }).click();
  await expect(page.getByText('Being packed').first()).toBeVisible();
  await expect(page.getByRole('link', { name: 'Cart, 0 items' })).toBeVisible();
});

test('the form says what is missing or wrong', async ({ page, admin }) => {
  const id = await admin.addProduct({ name: 'Cumin', price: 80, stock_quantity: 5 });
  await atCheckout(page, id);
  await page.getByLabel('PIN code').fill('012345');
  await page.getByLabel('Mobile number').fill('12345');
  await page.getByRole('button', { name: 'Place the order and pay' }).click();
  await expect(page.getByLabel('Mobile number')).toBeFocused();
  await expect(page.getByText('A PIN code has six digits')).toBeVisible();
  await expect(page.getByText('Indian mobile number')).toBeVisible();
});

test('a payment that was declined is tried again', async ({ page, admin }) => {
  const id = await admin.addProduct({ name: 'Cardamom', price: 340, stock_quantity: 5 });
  await atCheckout(page, id);
  await page.getByRole('button', { name: 'Place the order and pay' }).click();
  await payByUpi(page, 'decline@upi');
  await expect(page.getByText('The payment did not go through')).toBeVisible();
  await page.getByLabel('Card', { exact: true }).check();
  await page.getByLabel('Card number').fill('4111 1111 1111 1111');
  await page.getByRole('button', { name: /^Pay / }).click();
  await expect(page.getByRole('heading', { name: 'Payment received' })).toBeVisible();
});

test('cash on delivery needs no payment', async ({ page, admin }) => {
  const id = await admin.addProduct({ name: 'Turmeric', price: 99.5, stock_quantity: 5 });
  await atCheckout(page, id);
  await page.getByLabel('Cash on delivery').check();
  await page.getByRole('button', { name: 'Place the order', exact: true }).click();
  await expect(page.getByRole('heading', { name: 'Order placed' })).toBeVisible();
  await expect(page.getByText('₹99.50')).toBeVisible();
});

test.describe('sold out meanwhile', () => {
  test.use({ refusals: ['409 /api/orders'] });

  test('the customer learns what is left, and the cart stays', async ({ page, admin }) => {
    const id = await admin.addProduct({ name: 'Saffron', price: 900, stock_quantity: 5 });
    await atCheckout(page, id);
    await admin.changeProduct(id, { stock_quantity: 0 });
    await page.getByRole('button', { name: 'Place the order and pay' }).click();
    await expect(page.getByText('Saffron: 1 wanted, 0 left')).toBeVisible();
    await page.getByRole('link', { name: 'Change the cart' }).first().click();
    await expect(page.getByText('Out of stock. Remove it to go on.')).toBeVisible();
    await expect(page.getByRole('link', { name: 'Cart, 1 item' })).toBeVisible();
  });
});

test('a change of price is shown in the cart', async ({ page, admin }) => {
  const id = await admin.addProduct({ name: 'Ghee', price: 600, stock_quantity: 5 });
  await page.goto(`/products/${id}`);
  await page.getByRole('button', { name: 'Add to cart' }).click();
  await admin.changeProduct(id, { price: 650 });
  await page.goto('/cart');
  await expect(page.getByText('The price has gone up from ₹600 to ₹650.')).toBeVisible();
  await page.getByRole('button', { name: 'All right' }).click();
  await expect(page.getByText('The price has gone up')).toBeHidden();
});

test.describe('dearer meanwhile', () => {
  test.use({ refusals: ['409 /api/orders'] });

  test('nothing is ordered before the customer has seen the new total', async ({ page, admin }) => {
    const id = await admin.addProduct({ name: 'Vanilla', price: 400, stock_quantity: 5 });
    const customer = await atCheckout(page, id);
    await admin.changeProduct(id, { price: 450 });
    const place = page.getByRole('button', { name: 'Place the order and pay' });
    await place.click();
    await expect(page.getByText('The price has gone up meanwhile.')).toBeVisible();
    await expect(page.getByText('₹450').first()).toBeVisible();
    expect(await orderCount(customer)).toBe(0);
    await place.click();
    await expect(page.getByRole('button', { name: 'Pay ₹450' })).toBeVisible();
    expect(await orderCount(customer)).toBe(1);
  });
});
