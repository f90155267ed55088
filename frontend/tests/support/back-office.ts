import { execFileSync } from 'node:child_process';
import type { Page } from '@playwright/test';
import { ADMIN, type Credentials } from './admin';

/** Signs in by the page, and goes on to where the back office is wanted. */
export async function openBackOffice(
  page: Page,
  path: string,
  { email, password }: Credentials = ADMIN,
) {
  await page.goto(`/sign-in?next=${encodeURIComponent(path)}`);
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.locator('main').getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL((url) => url.pathname.startsWith('/admin'));
}

/** The Redis that holds the queues, written to as a producer of another time would. */
export class Queue {
  private readonly key: string;

  constructor(queue: string) {
    this.key = `${process.env.QUEUE_PREFIX ?? 'bull'}:${queue}`;
  }

  private redis(...command: string[]) {
    const url = process.env.REDIS_URL ?? 'redis://127.0.0.1:6379';
    execFileSync('redis-cli', ['-u', url, ...command]);
  }

  /** A job for a worker to take at once. */
  add(id: string, name: string, payload: unknown) {
    const job = `${this.key}:${id}`;
    const data = JSON.stringify(payload);
    const now = String(Date.now());
    this.redis(
      ...['HSET', job, 'name', name, 'data', data, 'opts', '{"attempts":1}'],
      ...['timestamp', now, 'delay', '0', 'priority', '0'],
    );
    this.redis('LPUSH', `${this.key}:wait`, id);
    this.redis('ZADD', `${this.key}:marker`, '0', '0');
  }

  mend(id: string, payload: unknown) {
    this.redis('HSET', `${this.key}:${id}`, 'data', JSON.stringify(payload));
  }
}
