import { openBackOffice } from './support/back-office';
import { withPaidOrder } from './support/customer';
import { expect, test } from './support/fixtures';

test('an order is followed live, while an administrator sends it off', async ({
  page,
  admin,
  another,
}) => {
  const id = await admin.addProduct({ name: 'Papad', price: 60, stock_quantity: 9 });
  const order = await withPaidOrder(page, id);
  await expect(page.getByText('Live: this page follows the order.')).toBeVisible();
  await expect(page.getByText('Being packed').first()).toBeVisible();

  const office = await (await another()).newPage();
  await openBackOffice(office, `/admin/orders/${order}`);
  const standing = office.getByRole('region', { name: 'Status' });
  await standing.getByRole('button', { name: 'Mark as shipped' }).click();
  await expect(standing).toContainText('Shipped');
  const history = page.getByRole('region', { name: 'What has happened' });
  await expect(history.getByText('Shipped')).toBeVisible();
  await expect(page.getByRole('button', { name: 'Cancel the order' })).toBeHidden();

  await standing.getByRole('button', { name: 'Mark as delivered' }).click();
  await expect(history.getByText('Delivered')).toBeVisible();
  await expect(page.getByText('This order has reached its end.')).toBeVisible();
});

test.describe('a stream that breaks off', () => {
  test.use({ refusals: ['net *'] });

  test('goes on where it was', async ({ page, context, admin }) => {
    const id = await admin.addProduct({ name: 'Chakli', price: 70, stock_quantity: 9 });
    const order = await withPaidOrder(page, id);
    await expect(page.getByText('Being packed').first()).toBeVisible();
    await expect(page.getByText('Live: this page follows the order.')).toBeVisible();
    await page.route('**/events', (route) => route.abort());
    await context.setOffline(true);
    await expect(page.getByText('You are offline.')).toBeVisible();
    await admin.changeOrder(order, 'shipped');
    await page.unroute('**/events');
    await context.setOffline(false);
    const history = page.getByRole('region', { name: 'What has happened' });
    await expect(history.getByText('Shipped')).toHaveCount(1);
    await expect(history.getByText('Being packed')).toHaveCount(1);
    await expect(page.getByText('Live: this page follows the order.')).toBeVisible();
  });
});
