import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Slot } from '../lib/storage';
import { createSession, type Stored, type Tokens, type User } from './renewal';

const priya = { id: 'priya', email: 'priya@example.in', role: 'customer' } as User;
const NOW = 1_800_000_000_000;

function tokenFor(minutes: number, serial: string): string {
  const claims = { sub: priya.id, exp: NOW / 1000 + minutes * 60, serial };
  return `head.${btoa(JSON.stringify(claims))}.signature`;
}

/** Tabs of one browser: they share a storage, a channel and a lock. Busy ones answer nobody. */
function browser(exchange: (refreshToken: string) => Promise<Tokens | null>, areBusy = false) {
  let value: Stored | null = { refreshToken: 'r0', user: priya };
  const stored: Slot<Stored> = {
    read: () => value,
    write: (next) => {
      value = next;
    },
    subscribe: () => () => undefined,
  };
  const bus: ((event: MessageEvent) => void)[][] = [];
  let queue: Promise<unknown> = Promise.resolve();

  function open(kept: { token: string | null } = { token: null }) {
    const listeners: ((event: MessageEvent) => void)[] = [];
    bus.push(listeners);
    return createSession({
      stored,
      tabToken: {
        read: () => kept.token,
        write: (token) => {
          kept.token = token;
        },
      },
      exchange,
      now: () => NOW,
      exclusively: (run) => {
        const turn = queue.then(run, run);
        queue = turn.catch(() => undefined);
        return turn;
      },
      channel: {
        addEventListener: ((_type: string, listener: (event: MessageEvent) => void) =>
          listeners.push(listener)) as BroadcastChannel['addEventListener'],
        postMessage(data: { type: string }) {
          if (areBusy && data.type === 'ask') return;
          for (const others of bus.filter((each) => each !== listeners)) {
            for (const listener of others) {
              queueMicrotask(() => listener(new MessageEvent('message', { data })));
            }
          }
        },
      },
    });
  }
  return { open, stored };
}

describe('the session', () => {
  let serial = 0;
  const exchange = vi.fn<(refreshToken: string) => Promise<Tokens | null>>();
  beforeEach(() => {
    serial = 0;
    exchange.mockReset();
    exchange.mockImplementation(() => {
      serial += 1;
      const token = tokenFor(15, String(serial));
      return Promise.resolve({ token, refreshToken: `r${serial}`, user: priya });
    });
  });

  it('is renewed once for all requests of all tabs', async () => {
    const { open, stored } = browser(exchange);
    const [first, second] = [open(), open()];
    const tokens = await Promise.all([
      first.accessToken(),
      first.accessToken(),
      second.accessToken(),
      second.accessToken(),
    ]);
    expect(new Set(tokens).size).toBe(1);
    expect(exchange).toHaveBeenCalledExactlyOnceWith('r0');
    expect(stored.read()?.refreshToken).toBe('r1');
  });

  it('is renewed once for two tabs, however busy the one is that has the token', async () => {
    const { open } = browser(exchange, true);
    const tokens = await Promise.all([open().accessToken(), open().accessToken()]);
    expect(exchange).toHaveBeenCalledTimes(1);
    expect(tokens[0]).toBe(tokens[1]);
  });

  it('keeps its token over a reload', async () => {
    const { open } = browser(exchange, true);
    const kept = { token: null };
    const token = await open(kept).accessToken();
    expect(await open(kept).accessToken()).toBe(token);
    expect(exchange).toHaveBeenCalledTimes(1);
  });

  it('renews a token that is about to end, with the newest refresh token', async () => {
    const tab = browser(exchange).open();
    tab.start({ token: tokenFor(0.2, 'old'), refreshToken: 'r7', user: priya });
    await tab.accessToken();
    expect(exchange).toHaveBeenCalledExactlyOnceWith('r7');
  });

  it('renews a token that was refused, but not one that has been renewed meanwhile', async () => {
    const tab = browser(exchange).open();
    const refused = await tab.accessToken();
    const renewed = await tab.renew(refused);
    expect(renewed).not.toBe(refused);
    expect(await tab.renew(refused)).toBe(renewed);
    expect(exchange).toHaveBeenCalledTimes(2);
  });

  it('ends when the API does not take the refresh token', async () => {
    exchange.mockResolvedValue(null);
    const tab = browser(exchange).open();
    expect(await tab.accessToken()).toBeNull();
    expect(tab.user()).toBeNull();
    expect(tab.hasExpired()).toBe(true);
  });

  it('outlives an API that does not answer', async () => {
    exchange.mockRejectedValueOnce(new Error('no answer'));
    const tab = browser(exchange).open();
    await expect(tab.accessToken()).rejects.toThrow('no answer');
    expect(tab.user()).toEqual(priya);
    expect(await tab.accessToken()).not.toBeNull();
  });

  it('takes over what is known of its own user, not of another', () => {
    const tab = browser(exchange).open();
    tab.update({ ...priya, full_name: 'Priya Nair' });
    expect(tab.user()?.full_name).toBe('Priya Nair');
    tab.update({ ...priya, id: 'arjun', full_name: 'Arjun' });
    expect(tab.user()?.full_name).toBe('Priya Nair');
  });

  it('does not bring back a user who has signed out while it was renewed', async () => {
    const tab = browser(exchange).open();
    exchange.mockImplementation(() => {
      tab.end();
      return Promise.resolve({ token: tokenFor(15, 'x'), refreshToken: 'r1', user: priya });
    });
    expect(await tab.accessToken()).toBeNull();
    expect(tab.user()).toBeNull();
  });
});
