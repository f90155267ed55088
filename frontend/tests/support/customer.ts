import { expect, type Page } from '@playwright/test';
import { signedIn } from './admin';

export type Customer = { name: string; email: string; password: string };

let serial = 0;

export function newCustomer(): Customer {
  serial += 1;
  const email = `shopper-${Date.now()}-${process.pid}-${serial}@example.in`;
  return { name: 'Meera Iyer', email, password: 'a good password' };
}

export async function signUp(page: Page, customer: Customer) {
  await page.getByLabel('Full name').fill(customer.name);
  await page.getByLabel('E-mail').fill(customer.email);
  await page.getByLabel('Password', { exact: true }).fill(customer.password);
  await page.getByRole('button', { name: 'Create an account' }).click();
}

export async function putIntoCart(page: Page, productId: string) {
  await page.goto(`/products/${productId}`);
  await page.getByRole('button', { name: 'Add to cart' }).click();
  await expect(page.getByRole('link', { name: /^Cart, / })).toBeVisible();
}

export async function fillAddress(page: Page) {
  await page.getByLabel('Full name').fill('Meera Iyer');
  await page.getByLabel('Mobile number').fill('98765 43210');
  await page.getByLabel('House and street').fill('12 MG Road');
  await page.getByLabel('City or town').fill('Bengaluru');
  await page.getByLabel('PIN code').fill('560001');
}

export async function payByUpi(page: Page, handle: string) {
  await page.getByLabel('UPI ID').fill(handle);
  await page.getByRole('button', { name: /^Pay / }).click();
}

/** A new customer with a product in the cart, at the checkout. */
export async function atCheckout(page: Page, productId: string): Promise<Customer> {
  const customer = newCustomer();
  await putIntoCart(page, productId);
  await page.goto('/sign-up?next=/checkout');
  await signUp(page, customer);
  await expect(page.getByRole('heading', { name: 'Checkout' })).toBeVisible();
  await fillAddress(page);
  return customer;
}

/** A new customer with an order that is paid for, on its page. Answers with the order's id. */
export async function withPaidOrder(page: Page, productId: string): Promise<string> {
  await atCheckout(page, productId);
  await page.getByRole('button', { name: 'Place the order and pay' }).click();
  await payByUpi(page, 'success@upi');
  await page.getByRole('link', { name: 'Follow the order' }).click();
  await expect(page.getByRole('heading', { name: /^Order #/ })).toBeVisible();
  return page.url().split('/').at(-1) ?? '';
}

/** How many orders there are of a customer, as the API says. */
export async function orderCount({ email, password }: Customer): Promise<number> {
  const api = await signedIn({ email, password });
  const orders = (await (await api.get('/api/orders')).json()) as { count: number };
  await api.dispose();
  return orders.count;
}
