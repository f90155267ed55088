import { expect, request, type APIRequestContext } from '@playwright/test';

export const API_URL = process.env.API_URL ?? 'http://localhost:3000';

export type Credentials = { email: string; password: string };
export type Session = { user: { id: string }; refreshToken: string; token: string };

export async function openSession(credentials: Credentials): Promise<Session> {
  const anonymous = await request.newContext({ baseURL: API_URL });
  const response = await anonymous.post('/api/auth/login', { data: credentials });
  const session = (await response.json()) as Session;
  await anonymous.dispose();
  return session;
}

/** As often as the API lets anybody guess, before it makes them wait. */
export async function guessPasswords(email: string) {
  const anonymous = await request.newContext({ baseURL: API_URL });
  for (let turn = 0; turn < 10; turn += 1) {
    await anonymous.post('/api/auth/login', { data: { email, password: `a guess ${turn}` } });
  }
  await anonymous.dispose();
}

/** The API for a program that has signed in. */
export async function signedIn(credentials: Credentials): Promise<APIRequestContext> {
  const { token } = await openSession(credentials);
  const extraHTTPHeaders = { authorization: `Bearer ${token}` };
  return request.newContext({ baseURL: API_URL, extraHTTPHeaders });
}

export const ADMIN: Credentials = {
  email: process.env.ADMIN_EMAIL ?? 'admin@bharatmart.example',
  password: process.env.ADMIN_PASSWORD ?? 'bharatmart-admin',
};

type NewProduct = {
  name: string;
  price: number;
  stock_quantity: number;
  category?: string;
  image_url?: string;
};

/** The administrator, who does things over the API while a customer is in the shop. */
export class Admin {
  private constructor(private readonly api: APIRequestContext) {}

  static async signIn(): Promise<Admin> {
    return new Admin(await signedIn(ADMIN));
  }

  async leave() {
    await this.api.dispose();
  }

  /** A product of this test's own, so that no other test buys it. */
  async addProduct(product: NewProduct): Promise<string> {
    const data = { category: 'Groceries', ...product };
    const response = await this.api.post('/api/products', { data });
    return ((await response.json()) as { id: string }).id;
  }

  async changeProduct(id: string, data: Partial<NewProduct>) {
    await this.api.put(`/api/products/${id}`, { data });
  }

  async removeProduct(id: string) {
    await this.api.delete(`/api/products/${id}`);
  }

  /** Changes it as soon as it may be: the workers come first. */
  async changeOrder(id: string, status: string) {
    await expect(async () => {
      const response = await this.api.patch(`/api/orders/${id}/status`, { data: { status } });
      expect(response.ok(), await response.text()).toBe(true);
    }).toPass({ timeout: 30_000 });
  }
}
