import { expect, test } from './support/fixtures';
import { look } from './support/look';
import { Shopper } from './support/shopper';
import { hold, open, refuse, tryInVain, visit } from './support/visit';
import { LANGUAGES, wordsOf } from './support/words';

test.use({ contextOptions: { reducedMotion: 'reduce' } });

const PAGES = {
  home: '/',
  catalogue: '/products',
  category: '/products?category=Books&sort=-price&in_stock=true',
  'nothing-found': '/products?search=nothing-is-called-so',
  'sign-in': '/sign-in?next=/checkout',
  'sign-up': '/sign-up',
  'forgot-password': '/forgot-password',
  'reset-password': '/reset-password?token=abc',
  'verify-email': '/verify-email?token=abc',
  'incomplete-link': '/verify-email',
  'empty-cart': '/cart',
  'not-found': '/no/such/page',
};

for (const language of LANGUAGES) {
  const words = wordsOf(language);

  test.describe(language, () => {
    test('pages that everybody sees', async ({ page }, info) => {
      test.setTimeout(180_000);
      await visit(page, { language });
      for (const [name, path] of Object.entries(PAGES)) {
        await open(page, path);
        await expect(page.locator('html')).toHaveAttribute('lang', language);
        await look(page, info, `${name}-${language}`);
      }
    });

    test.describe('a shop that is not well', () => {
      test.use({
        refusals: [
          '429 /api/*',
          '500 /api/*',
          '503 /api/*',
          'net /api/*',
          'net /assets/*',
          'dynamically imported module',
        ],
      });

      test('in each of its states', async ({ page, context }, info) => {
        test.setTimeout(180_000);
        await visit(page, { language });
        await page.clock.install();
        const release = await hold(page, '**/api/**');
        await page.goto('/');
        await expect(page.locator('.animate-pulse').first()).toBeVisible();
        await look(page, info, `loading-${language}`, { isLoading: true });
        await page.clock.fastForward(4000);
        await expect(page.getByText(words('connection.slow'))).toBeVisible();
        await look(page, info, `slow-${language}`, { isLoading: true });
        await release();
        await expect(page.getByText(words('connection.slow'))).toBeHidden();
        await page.route('**/api/**', (route) => route.abort());
        await page.goto('/');
        await expect(page.getByText(words('connection.unreachable'))).toBeVisible();
        await tryInVain(page);
        await look(page, info, `unreachable-${language}`);
        await page.unroute('**/api/**');
        await page.clock.fastForward(3000);
        await expect(page.getByText(words('connection.unreachable'))).toBeHidden();

        for (const [name, refusal] of Object.entries({
          busy: { status: 503, code: 'overloaded', retryAfter: 95 },
          'too-many-requests': { status: 429, code: 'rate_limited', retryAfter: 61 },
          failed: { status: 500, code: 'internal_error' },
        })) {
          const recover = await refuse(page, '**/api/products?*', refusal);
          await page.goto('/products');
          await expect(page.getByRole('alert')).toBeVisible();
          await look(page, info, `${name}-${language}`);
          await recover();
        }

        await open(page, '/');
        await context.setOffline(true);
        await expect(page.getByText(words('connection.offline'))).toBeVisible();
        await look(page, info, `offline-${language}`);
        await context.setOffline(false);
        await page.route('**/assets/cart-page-*', (route) => route.abort());
        await page.goto('/cart');
        await expect(page.getByText(words('failed.title'))).toBeVisible();
        await look(page, info, `crashed-${language}`);
      });
    });

    test.describe('goods and cart', () => {
      test.use({ refusals: ['404 /api/products/*'] });

      test('in each of their states', async ({ page, admin }, info) => {
        const long = 'Handwoven Banarasi Silk Saree with a Very Long and Detailed Name';
        const goods = {
          few: { name: long, price: 1234567.5, stock_quantity: 2 },
          gone: { name: 'Last Mango', price: 90, stock_quantity: 1 },
          short: { name: 'Alphonso pulp', price: 120, stock_quantity: 3 },
          removed: { name: 'Old calendar', price: 15, stock_quantity: 3 },
        };
        const cart = [];
        for (const { name, price, stock_quantity } of Object.values(goods)) {
          const product_id = await admin.addProduct({ name, price, stock_quantity });
          cart.push({ product_id, name, price, quantity: stock_quantity });
        }
        const [few = '', gone = '', short = '', removed = ''] = cart.map((line) => line.product_id);
        await visit(page, { language, cart });
        await open(page, `/products/${few}`);
        await look(page, info, `product-${language}`);
        await open(page, '/cart');
        await look(page, info, `cart-${language}`);
        await admin.changeProduct(gone, { stock_quantity: 0, price: 120 });
        await admin.changeProduct(short, { stock_quantity: 1, price: 99 });
        await admin.removeProduct(removed);
        await open(page, `/products/${gone}`);
        await expect(page.getByText(words('stock.none'))).toBeVisible();
        await look(page, info, `out-of-stock-${language}`);
        await open(page, '/cart');
        await expect(page.getByText(words('cart.gone'))).toBeVisible();
        await look(page, info, `cart-changed-${language}`);
      });
    });

    test.describe('forms of an account', () => {
      test.use({
        refusals: ['400 /api/auth/*', '401 /api/auth/*', '409 /api/auth/*', '429 /api/auth/*'],
      });

      test('with errors, and done', async ({ page }, info) => {
        test.setTimeout(120_000);
        const shopper = await Shopper.signUp();
        const { email } = shopper.customer;
        const submit = page.locator('main form button[type=submit]');
        const password = page.locator('input[type=password]');
        await visit(page, { language });

        await open(page, '/sign-in');
        await submit.click();
        await look(page, info, `sign-in-errors-${language}`);
        await page.locator('input[type=email]').fill(email);
        await password.fill('not the password');
        await submit.click();
        await expect(page.getByText(words('account.wrong'))).toBeVisible();
        await look(page, info, `sign-in-wrong-${language}`);

        await open(page, '/sign-up');
        await submit.click();
        await look(page, info, `sign-up-errors-${language}`);
        await page.getByLabel(words('account.name')).fill('Meera');
        await page.locator('input[type=email]').fill(email);
        await password.fill('a good password');
        await submit.click();
        await expect(page.locator('[aria-invalid=true], [role=alert]').first()).toBeVisible();
        await look(page, info, `sign-up-taken-${language}`);

        await open(page, '/forgot-password');
        await page.locator('input[type=email]').fill(email);
        await submit.click();
        await expect(page.locator('main [role=status]')).toBeVisible();
        await look(page, info, `forgot-password-sent-${language}`);

        await open(page, '/reset-password?token=abc');
        await password.fill('short');
        await submit.click();
        await look(page, info, `reset-password-errors-${language}`);

        await open(page, '/verify-email?token=abc');
        await page.locator('main button').click();
        await expect(page.getByRole('alert')).toBeVisible();
        await look(page, info, `verify-email-refused-${language}`);

        await visit(page, { language, session: shopper.session });
        await shopper.signOut();
        await open(page, '/profile');
        await expect(page.getByText(words('account.expired'))).toBeVisible();
        await look(page, info, `session-ended-${language}`);
        await shopper.leave();
      });
    });
  });
}
