import { request, type APIRequestContext } from '@playwright/test';
import { API_URL, type Session } from './admin';
import { newCustomer, type Customer } from './customer';

type Method = 'cash_on_delivery' | 'upi';

/** A customer who does things over the API. */
export class Shopper {
  private constructor(
    readonly customer: Customer,
    readonly session: Session,
    private readonly api: APIRequestContext,
  ) {}

  static async signUp(): Promise<Shopper> {
    const customer = newCustomer();
    const anonymous = await request.newContext({ baseURL: API_URL });
    const { name: full_name, email, password } = customer;
    const response = await anonymous.post('/api/auth/signup', {
      data: { full_name, email, password },
    });
    const session = (await response.json()) as Session;
    await anonymous.dispose();
    const extraHTTPHeaders = { authorization: `Bearer ${session.token}` };
    const api = await request.newContext({ baseURL: API_URL, extraHTTPHeaders });
    return new Shopper(customer, session, api);
  }

  async leave() {
    await this.api.dispose();
  }

  async order(productId: string, payment_method: Method): Promise<string> {
    const response = await this.api.post('/api/orders', {
      data: {
        items: [{ product_id: productId, quantity: 2 }],
        shipping_address: 'Meera Iyer\n12 MG Road\nBengaluru 560001',
        payment_method,
      },
    });
    return ((await response.json()) as { id: string }).id;
  }

  async pay(orderId: string, payment_token = 'success@upi') {
    await this.api.post('/api/payments', {
      data: { order_id: orderId, payment_method: 'upi', payment_token },
      headers: { prefer: 'wait=10' },
    });
  }

  async cancel(orderId: string) {
    await this.api.patch(`/api/orders/${orderId}/status`, { data: { status: 'cancelled' } });
  }

  /** Ends the session everywhere, as signing out on another device does with a stolen one. */
  async signOut() {
    await this.api.post('/api/auth/logout');
  }
}
