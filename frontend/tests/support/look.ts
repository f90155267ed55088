import AxeBuilder from '@axe-core/playwright';
import { expect, type Page, type TestInfo } from '@playwright/test';
import { layoutFaults } from './layout-faults';

/** The narrowest screen there is. */
const NARROWEST = 320;

type Options = { isLoading?: boolean };

/**
 * What holds of every page in every state: accessible, nothing cut, nothing over something else, and nothing left
 * undefined. On a phone, also on the narrowest. With `SCREENSHOTS` the page is kept as a picture in that folder.
 */
export async function look(page: Page, info: TestInfo, name: string, options: Options = {}) {
  const { isLoading = false } = options;
  // Its own code is there by then: that of the page around it shows the same while it is fetched.
  await expect(page.getByRole('heading', { level: 1 }).first()).toBeVisible();
  if (!isLoading) await expect(page.locator('.animate-pulse')).toHaveCount(0);
  const folder = process.env.SCREENSHOTS;
  if (folder) {
    await page.evaluate(() => window.scrollTo(0, 0));
    await page.screenshot({ path: `${folder}/${info.project.name}/${name}.png`, fullPage: true });
  }
  await inspect(page, name);
  const size = page.viewportSize();
  if (!size || size.width > 400) return;
  await page.setViewportSize({ ...size, width: NARROWEST });
  await inspect(page, `${name} at ${NARROWEST}`);
  await page.setViewportSize(size);
}

async function inspect(page: Page, name: string) {
  // There are no frames, so that what the other mode opens a tab for is not needed.
  const { violations } = await new AxeBuilder({ page })
    .setLegacyMode()
    .options({ resultTypes: ['violations'] })
    .analyze();
  const found = violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(' ')}`,
  );
  expect.soft(found, `${name}: what axe finds`).toEqual([]);
  expect.soft(await layoutFaults(page), `${name}: what is cut or covered`).toEqual([]);
  await expect.soft(page.locator('body'), name).not.toContainText(/undefined|NaN|\[object/);
}
