import type { Page } from '@playwright/test';
import { putIntoCart, withPaidOrder, atCheckout } from './support/customer';
import { expect, test } from './support/fixtures';
import { look } from './support/look';

const PUBLIC = {
  home: '/',
  catalogue: '/products',
  category: '/products?category=Books&sort=-price&in_stock=true',
  nothing: '/products?search=nothing-is-called-so',
  'sign-in': '/sign-in?next=/checkout',
  'sign-up': '/sign-up',
  'forgot-password': '/forgot-password',
  'reset-password': '/reset-password?token=abc',
  'verify-email': '/verify-email?token=abc',
  'incomplete-link': '/verify-email',
  'empty-cart': '/cart',
  'not-found': '/no/such/page',
};

for (const language of ['en', 'hi']) {
  test.describe(language, () => {
    /** The journeys speak English; only what is looked at is in the other language. */
    async function speak(page: Page) {
      await page.evaluate(
        (chosen) => localStorage.setItem('bharatmart.language', chosen),
        language,
      );
      await page.reload();
      await expect(page.locator('html')).toHaveAttribute('lang', language);
      await page.waitForLoadState('networkidle');
    }

    test('public pages', async ({ page }, info) => {
      test.setTimeout(180_000);
      for (const [name, path] of Object.entries(PUBLIC)) {
        await page.goto(path);
        await speak(page);
        await look(page, info, `${name}-${language}`);
      }
    });

    test('product and cart', async ({ page, admin }, info) => {
      const few = await admin.addProduct({
        name: 'Handwoven Banarasi Silk Saree with a Very Long and Detailed Name',
        price: 1234567.5,
        stock_quantity: 2,
      });
      const gone = await admin.addProduct({ name: 'Last Mango', price: 90, stock_quantity: 1 });
      await putIntoCart(page, few);
      await speak(page);
      await look(page, info, `product-${language}`);
      await page.evaluate(() => localStorage.setItem('bharatmart.language', 'en'));
      await putIntoCart(page, gone);
      await admin.changeProduct(gone, { stock_quantity: 0, price: 120 });
      await page.goto('/cart');
      await speak(page);
      await look(page, info, `cart-${language}`);
    });

    test('checkout, payment and order', async ({ page, admin }, info) => {
      test.setTimeout(180_000);
      const id = await admin.addProduct({ name: 'Darjeeling Tea', price: 450, stock_quantity: 99 });
      await atCheckout(page, id);
      await speak(page);
      await look(page, info, `checkout-${language}`);
      await page.getByRole('button').last().click();
      await page.waitForURL(/payment/);
      await look(page, info, `payment-${language}`);
      await page.getByRole('textbox').last().fill('decline@upi');
      await page.getByRole('button').last().click();
      await expect(page.getByRole('alert')).toBeVisible();
      await look(page, info, `payment-declined-${language}`);
      await page.getByRole('textbox').last().fill('success@upi');
      await page.getByRole('button').last().click();
      await expect(page.getByRole('heading', { level: 1 })).toHaveText(/received|मिल/);
      await look(page, info, `payment-received-${language}`);
      await page.goto('/orders');
      await page.waitForLoadState('networkidle');
      await look(page, info, `orders-${language}`);
      await page.goto('/profile');
      await page.waitForLoadState('networkidle');
      await look(page, info, `profile-${language}`);
    });

    test('order page and its dialog', async ({ page, admin }, info) => {
      const id = await admin.addProduct({ name: 'Assam Tea', price: 350, stock_quantity: 99 });
      await withPaidOrder(page, id);
      await page.evaluate(
        (chosen) => localStorage.setItem('bharatmart.language', chosen),
        language,
      );
      await page.reload();
      await expect(page.getByText('●')).toBeVisible();
      const cancel = page.locator('button', { hasText: /Cancel|रद्द/ });
      await expect(cancel).toBeVisible();
      await look(page, info, `order-${language}`);
      await cancel.click();
      await expect(page.getByRole('alertdialog')).toBeVisible();
      await look(page, info, `order-cancel-${language}`);
    });
  });
}
