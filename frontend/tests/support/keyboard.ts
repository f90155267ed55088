import { expect, type Locator, type Page } from '@playwright/test';

const MOST = 80;

/** Goes on with Tab, as somebody without a mouse does, until the focus is there. */
export async function tabTo(page: Page, goal: Locator) {
  await goal.waitFor();
  for (let presses = 0; presses < MOST; presses += 1) {
    if (await goal.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press('Tab');
  }
  await expect(goal, 'is not reached by Tab').toBeFocused({ timeout: 1 });
}

export async function pressOn(page: Page, goal: Locator, key = 'Enter') {
  await tabTo(page, goal);
  await page.keyboard.press(key);
}

export async function typeInto(page: Page, goal: Locator, text: string) {
  await tabTo(page, goal);
  await page.keyboard.insertText(text);
}
