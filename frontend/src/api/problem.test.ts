import { describe, expect, it } from 'vitest';
import { problemOf } from './problem';

const json = { 'content-type': 'application/problem+json' };

describe('problemOf', () => {
  it('has what the API says of fields, and of what is short', async () => {
    const body = {
      code: 'out_of_stock',
      error: 'Out of stock',
      errors: [{ field: 'items', message: '5 requested, 3 left' }],
      shortages: [{ product_id: 'atta', name: 'Atta', requested: 5, available: 3 }],
    };
    const problem = await problemOf(
      new Response(JSON.stringify(body), { status: 409, headers: json }),
    );
    expect(problem).toMatchObject({ status: 409, code: 'out_of_stock', message: 'Out of stock' });
    expect(problem.fields).toEqual(body.errors);
    expect(problem.shortages).toEqual(body.shortages);
    expect(problem.passes).toBe(false);
  });

  it('has the time after which to try again', async () => {
    const headers = { ...json, 'retry-after': '12' };
    const problem = await problemOf(
      new Response('{"code":"overloaded"}', { status: 503, headers }),
    );
    expect(problem).toMatchObject({ retryAfter: 12, passes: true });
  });

  it('takes the error page of a proxy for silence', async () => {
    const page = new Response('<h1>Bad Gateway</h1>', {
      status: 502,
      headers: { 'content-type': 'text/html' },
    });
    expect(await problemOf(page)).toMatchObject({ code: 'unreachable', passes: true });
  });
});
