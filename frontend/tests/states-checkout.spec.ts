import type { Page } from '@playwright/test';
import { expect, test } from './support/fixtures';
import { look } from './support/look';
import { Shopper } from './support/shopper';
import { hold, open, refuse, visit } from './support/visit';
import { LANGUAGES, wordsOf, type Words } from './support/words';

test.use({ contextOptions: { reducedMotion: 'reduce' } });

async function fillAddress(page: Page, words: Words) {
  await page.getByLabel(words('checkout.phone')).fill('98765 43210');
  await page.getByLabel(words('checkout.street')).fill('12 MG Road');
  await page.getByLabel(words('checkout.city')).fill('Bengaluru');
  await page.getByLabel(words('checkout.pin')).fill('560001');
}

for (const language of LANGUAGES) {
  const words = wordsOf(language);

  test.describe(language, () => {
    test.describe('checkout', () => {
      test.use({ refusals: ['409 /api/orders', '503 /api/orders'] });

      test('in each of its states', async ({ page, admin }, info) => {
        test.setTimeout(120_000);
        const shopper = await Shopper.signUp();
        const tea = { name: 'Darjeeling Tea', price: 450, stock_quantity: 9 };
        const product_id = await admin.addProduct(tea);
        const cart = [{ product_id, name: tea.name, price: tea.price, quantity: 2 }];
        const submit = page.locator('main form button[type=submit]');
        await visit(page, { language, session: shopper.session });
        await open(page, '/checkout');
        await look(page, info, `checkout-empty-${language}`);
        // By the page itself, whose session goes on.
        await page.evaluate(
          (lines) => localStorage.setItem('bharatmart.cart', JSON.stringify(lines)),
          cart.map((line) => ({ ...line, image_url: null })),
        );
        await open(page, '/checkout');
        await look(page, info, `checkout-${language}`);
        await submit.click();
        await expect(page.locator('[aria-invalid=true]').first()).toBeVisible();
        await look(page, info, `checkout-errors-${language}`);
        await fillAddress(page, words);

        const recover = await refuse(page, '**/api/orders', {
          ...{ status: 503, code: 'overloaded', retryAfter: 95 },
        });
        await submit.click();
        await expect(page.getByRole('alert')).toContainText(words('problem.overloaded'));
        await look(page, info, `checkout-busy-${language}`);
        await recover();
        await admin.changeProduct(product_id, { stock_quantity: 1 });
        await submit.click();
        await expect(page.getByText(words('checkout.outOfStock'))).toBeVisible();
        await look(page, info, `checkout-out-of-stock-${language}`);
        await page.getByRole('alert').getByRole('link').click();
        await expect(page.getByText(words('cart.blocked'))).toBeVisible();
        await look(page, info, `cart-out-of-stock-${language}`);
        await shopper.leave();
      });
    });

    test('payment in each of its states', async ({ page, admin }, info) => {
      test.setTimeout(120_000);
      const shopper = await Shopper.signUp();
      const tea = { name: 'Nilgiri Tea', price: 250, stock_quantity: 99 };
      const product = await admin.addProduct(tea);
      const order = await shopper.order(product, 'upi');
      const cash = await shopper.order(product, 'cash_on_delivery');
      const cancelled = await shopper.order(product, 'upi');
      await shopper.cancel(cancelled);
      await visit(page, { language, session: shopper.session });
      const submit = page.locator('main form button[type=submit]');
      const handle = page.getByLabel(words('payment.upiHandle'));

      await open(page, `/orders/${order}/payment`);
      await look(page, info, `payment-${language}`);
      await submit.click();
      await look(page, info, `payment-errors-${language}`);
      const release = await hold(page, '**/api/payments');
      await handle.fill('decline@upi');
      await submit.click();
      await expect(page.getByText(words('payment.asking'))).toBeVisible();
      await look(page, info, `payment-asking-${language}`);
      await release();
      await expect(page.getByText(words('payment.tryAgain'))).toBeVisible();
      await look(page, info, `payment-declined-${language}`);
      await handle.fill('success@upi');
      await submit.click();
      await expect(page.getByText(words('payment.paidTitle'))).toBeVisible();
      await look(page, info, `payment-received-${language}`);
      await open(page, `/orders/${cash}/payment`);
      await look(page, info, `payment-cash-${language}`);
      await open(page, `/orders/${cancelled}/payment`);
      await look(page, info, `payment-not-needed-${language}`);
      await shopper.leave();
    });

    test.describe('orders', () => {
      test.use({ refusals: ['404 /api/orders/*', 'net *'] });

      test('in each of their states', async ({ page, admin }, info) => {
        test.setTimeout(180_000);
        const shopper = await Shopper.signUp();
        await visit(page, { language, session: shopper.session });
        await open(page, '/orders');
        await look(page, info, `orders-none-${language}`);

        const tea = { name: 'Assam Tea', price: 350, stock_quantity: 99 };
        const product = await admin.addProduct(tea);
        const unpaid = await shopper.order(product, 'upi');
        const declined = await shopper.order(product, 'upi');
        const paid = await shopper.order(product, 'upi');
        const cancelled = await shopper.order(product, 'cash_on_delivery');
        const delivered = await shopper.order(product, 'cash_on_delivery');
        await shopper.pay(declined, 'decline@upi');
        await shopper.pay(paid);
        await shopper.cancel(cancelled);
        await admin.changeOrder(delivered, 'shipped');
        await admin.changeOrder(delivered, 'delivered');
        await open(page, '/orders');
        await look(page, info, `orders-${language}`);
        for (const [name, id] of Object.entries({ unpaid, declined, paid })) {
          await open(page, `/orders/${id}`);
          await expect(page.getByText(words('order.live'))).toBeVisible();
          await look(page, info, `order-${name}-${language}`);
        }
        await page.getByRole('button', { name: words('order.cancel') }).click();
        await expect(page.getByRole('alertdialog')).toBeVisible();
        await look(page, info, `order-cancel-${language}`);
        for (const [name, id] of Object.entries({ cancelled, delivered })) {
          await open(page, `/orders/${id}`);
          await expect(page.getByText(words('order.ended'))).toBeVisible();
          await look(page, info, `order-${name}-${language}`);
        }
        await page.route('**/events', (route) => route.abort());
        await open(page, `/orders/${paid}`);
        await expect(page.getByText(words('order.reconnecting'))).toBeVisible();
        await look(page, info, `order-reconnecting-${language}`);
        await open(page, '/orders/00000000-0000-4000-8000-000000000000');
        await look(page, info, `order-not-found-${language}`);
        await shopper.leave();
      });
    });

    test('profile in each of its states', async ({ page }, info) => {
      const shopper = await Shopper.signUp();
      await visit(page, { language, session: shopper.session });
      await open(page, '/profile');
      await look(page, info, `profile-${language}`);
      await page.getByLabel(words('account.phone')).fill('12');
      await page.getByRole('button', { name: words('account.save') }).click();
      await expect(page.locator('[aria-invalid=true]')).toBeVisible();
      await look(page, info, `profile-errors-${language}`);
      await page.getByLabel(words('account.phone')).fill('9876543210');
      await page.getByRole('button', { name: words('account.save') }).click();
      await expect(page.getByText(words('account.saved'))).toBeVisible();
      await page.getByRole('button', { name: words('account.verifySend') }).click();
      await expect(page.getByText(words('account.verifySent'))).toBeVisible();
      await look(page, info, `profile-saved-${language}`);
      await shopper.leave();
    });
  });
}
