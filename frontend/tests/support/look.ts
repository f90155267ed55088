import AxeBuilder from '@axe-core/playwright';
import { expect, type Page, type TestInfo } from '@playwright/test';

/** What holds of every page in every state: accessible, within its width, and nothing left undefined. */
export async function look(page: Page, info: TestInfo, name: string) {
  await expect(page.locator('.animate-pulse')).toHaveCount(0);
  const folder = process.env.SCREENSHOTS;
  if (folder) {
    await page.screenshot({ path: `${folder}/${info.project.name}/${name}.png`, fullPage: true });
  }
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(
    violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`),
  ).toEqual([]);
  await expect(page.locator('body')).not.toContainText(/undefined|NaN|\[object/);
  const excess = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    return scrollWidth - clientWidth;
  });
  expect(excess, 'what sticks out of the page').toBeLessThanOrEqual(0);
}
