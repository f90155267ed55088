import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { readConfig } from './config';

const FAR = 'https://api.shop.example';

const fetched = vi.fn<typeof fetch>();

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('fetch', fetched);
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  fetched.mockReset();
});

async function config() {
  const reading = readConfig();
  await vi.runAllTimersAsync();
  return reading;
}

test('the address is taken without the slash at its end', async () => {
  fetched.mockResolvedValue(Response.json({ apiUrl: `${FAR}/` }));
  expect(await config()).toEqual({ apiUrl: FAR });
});

test('a moment without a server is waited for', async () => {
  fetched
    .mockRejectedValueOnce(new TypeError('Failed to fetch'))
    .mockResolvedValueOnce(new Response('Bad Gateway', { status: 502 }))
    .mockResolvedValue(Response.json({ apiUrl: FAR }));
  expect(await config()).toEqual({ apiUrl: FAR });
  expect(fetched).toHaveBeenCalledTimes(3);
});

test('without the file the API is beside the pages', async () => {
  fetched.mockResolvedValue(new Response('<h1>Not found</h1>', { status: 404 }));
  expect(await config()).toEqual({ apiUrl: '' });
  expect(fetched).toHaveBeenCalledTimes(1);
});

test('when nobody ever hands it out, the API is looked for beside the pages', async () => {
  fetched.mockRejectedValue(new TypeError('Failed to fetch'));
  expect(await config()).toEqual({ apiUrl: '' });
});
