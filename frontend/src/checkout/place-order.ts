import { api, read } from '../api/client';
import { asProblem } from '../api/problem';
import type { Order } from '../api/types';
import { cart } from '../cart/cart';
import { endAttempt, type Attempt } from './attempt';

/** Answers that leave open whether there is an order, or that change nothing about the attempt. */
function isUnanswered(error: unknown): boolean {
  const problem = asProblem(error);
  const { status } = problem;
  // What is no refusal of the API's (0 and less) broke on its way here.
  const isOpen = status <= 0 || [401, 408].includes(status) || status >= 500;
  return problem.passes || isOpen || isRunning(error);
}

function isRunning(error: unknown): boolean {
  return asProblem(error).code === 'idempotency_key_in_use';
}

/** Orders what is in the cart, once, however often it is called for the same attempt. */
export async function placeOrder(attempt: Attempt): Promise<Order> {
  try {
    const order = await read(
      api.POST('/api/orders', {
        params: { header: { 'idempotency-key': attempt.key } },
        body: attempt.request,
      }),
    );
    cart.removeOrdered(attempt.request.items);
    endAttempt(attempt);
    return order;
  } catch (error) {
    if (!isUnanswered(error)) endAttempt(attempt);
    throw error;
  }
}
