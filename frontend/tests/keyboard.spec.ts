import { newCustomer, withPaidOrder } from './support/customer';
import { expect, test } from './support/fixtures';
import { pressOn, typeInto } from './support/keyboard';

test('a whole purchase needs no mouse', async ({ page, admin }) => {
  const name = `Brass lamp ${Date.now()}`;
  await admin.addProduct({ name, price: 1299, stock_quantity: 5 });
  const customer = newCustomer();

  await page.goto('/');
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
  await page.keyboard.press('Tab');
  await expect(page.getByRole('link', { name: 'Skip to the content' })).toBeFocused();
  await typeInto(page, page.getByRole('searchbox'), name);
  await page.keyboard.press('Enter');
  await pressOn(page, page.getByRole('link', { name }));
  // Whoever cannot see the page hears which one it is.
  await expect(page.getByRole('heading', { name })).toBeFocused();
  await pressOn(page, page.getByRole('button', { name: 'Add to cart' }), 'Space');
  await pressOn(page, page.getByRole('link', { name: 'Cart, 1 item' }));
  await expect(page.getByRole('heading', { name: 'Your cart' })).toBeFocused();
  await pressOn(page, page.getByRole('button', { name: `One more: ${name}` }));
  await expect(page.getByText('₹2,598').first()).toBeVisible();
  await pressOn(page, page.getByRole('link', { name: 'Go to checkout' }));

  await pressOn(page, page.getByRole('link', { name: 'Create an account' }));
  await typeInto(page, page.getByLabel('Full name'), customer.name);
  await typeInto(page, page.getByLabel('E-mail'), customer.email);
  await typeInto(page, page.getByLabel('Password', { exact: true }), customer.password);
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'Checkout' })).toBeFocused();
  await typeInto(page, page.getByLabel('House and street'), '12 MG Road');
  await typeInto(page, page.getByLabel('City or town'), 'Bengaluru');
  await typeInto(page, page.getByLabel('PIN code'), '560001');
  await page.keyboard.press('Enter');
  // What is missing has the focus, and says what it wants.
  const phone = page.getByLabel('Mobile number');
  await expect(phone).toBeFocused();
  await expect(phone).toHaveAccessibleDescription(/Indian mobile number of ten digits/);
  await page.keyboard.insertText('9876543210');
  await pressOn(page, page.getByRole('button', { name: 'Place the order and pay' }));

  await expect(page.getByRole('heading', { name: 'Pay for your order' })).toBeFocused();
  await typeInto(page, page.getByLabel('UPI ID'), 'success@upi');
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { name: 'Payment received' })).toBeVisible();
  await pressOn(page, page.getByRole('link', { name: 'Follow the order' }));
  await expect(page.getByText('Being packed').first()).toBeVisible();
});

test('an order is cancelled by the keyboard', async ({ page, admin }) => {
  const id = await admin.addProduct({ name: 'Pickle', price: 150, stock_quantity: 9 });
  await withPaidOrder(page, id);
  await pressOn(page, page.getByRole('button', { name: 'Cancel the order' }));
  await expect(page.getByRole('alertdialog')).toBeFocused();
  await page.keyboard.press('Escape');
  await expect(page.getByRole('button', { name: 'Cancel the order' })).toBeFocused();
  await page.keyboard.press('Enter');
  await pressOn(page, page.getByRole('button', { name: 'Yes, cancel it' }));
  await expect(page.getByText('Cancelled').first()).toBeVisible();
});
