import { execFileSync } from 'node:child_process';
import { request, type APIRequestContext, type Page } from '@playwright/test';
import { newCustomer, type Customer } from './customer';

const API_URL = process.env.API_URL ?? 'http://localhost:3000';

export const ADMIN = {
  email: process.env.ADMIN_EMAIL ?? 'admin@bharatmart.example',
  password: process.env.ADMIN_PASSWORD ?? 'bharatmart-admin',
};

/** Signs in by the page, and goes on to where the back office is wanted. */
export async function openBackOffice(
  page: Page,
  path: string,
  { email, password }: Pick<Customer, 'email' | 'password'> = ADMIN,
) {
  await page.goto(`/sign-in?next=${encodeURIComponent(path)}`);
  await page.getByLabel('E-mail').fill(email);
  await page.getByLabel('Password', { exact: true }).fill(password);
  await page.locator('main').getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL((url) => url.pathname.startsWith('/admin'));
}

/** A customer who orders over the API. */
export class Shopper {
  private constructor(
    readonly customer: Customer,
    private readonly api: APIRequestContext,
  ) {}

  static async signUp(): Promise<Shopper> {
    const customer = newCustomer();
    const anonymous = await request.newContext({ baseURL: API_URL });
    const { name: full_name, email, password } = customer;
    const response = await anonymous.post('/api/auth/signup', {
      data: { full_name, email, password },
    });
    const { token } = (await response.json()) as { token: string };
    await anonymous.dispose();
    const extraHTTPHeaders = { authorization: `Bearer ${token}` };
    return new Shopper(customer, await request.newContext({ baseURL: API_URL, extraHTTPHeaders }));
  }

  async leave() {
    await this.api.dispose();
  }

  async order(productId: string, payment_method: 'cash_on_delivery' | 'upi'): Promise<string> {
    const response = await this.api.post('/api/orders', {
      data: {
        items: [{ product_id: productId, quantity: 2 }],
        shipping_address: 'Meera Iyer\n12 MG Road\nBengaluru 560001',
        payment_method,
      },
    });
    return ((await response.json()) as { id: string }).id;
  }

  async pay(orderId: string) {
    await this.api.post('/api/payments', {
      data: { order_id: orderId, payment_method: 'upi', payment_token: 'success@upi' },
      headers: { prefer: 'wait=10' },
    });
  }
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
