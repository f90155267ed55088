import { request, type APIRequestContext } from '@playwright/test';

const API_URL = process.env.API_URL ?? 'http://localhost:3000';

/** The API for a program that has signed in. */
export async function signedIn(credentials: {
  email: string;
  password: string;
}): Promise<APIRequestContext> {
  const anonymous = await request.newContext({ baseURL: API_URL });
  const response = await anonymous.post('/api/auth/login', { data: credentials });
  const { token } = (await response.json()) as { token: string };
  await anonymous.dispose();
  const extraHTTPHeaders = { authorization: `Bearer ${token}` };
  return request.newContext({ baseURL: API_URL, extraHTTPHeaders });
}

type NewProduct = { name: string; price: number; stock_quantity: number; category?: string };

/** The administrator, who does things over the API while a customer is in the shop. */
export class Admin {
  private constructor(private readonly api: APIRequestContext) {}

  static async signIn(): Promise<Admin> {
    return new Admin(
      await signedIn({
        email: process.env.ADMIN_EMAIL ?? 'admin@bharatmart.example',
        password: process.env.ADMIN_PASSWORD ?? 'bharatmart-admin',
      }),
    );
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

  async changeOrder(id: string, status: string) {
    await this.api.patch(`/api/orders/${id}/status`, { data: { status } });
  }
}
