import type { components } from '../api/schema';
import type { Slot } from '../lib/storage';

export type User = components['schemas']['User'];
export type Tokens = components['schemas']['Session'];

/** What tabs share: the refresh token, which is good for one use, and whose it is. */
export type Stored = { refreshToken: string; user: User };

type Message = { type: 'ask' } | { type: 'token'; token: string };

export type SessionParts = {
  stored: Slot<Stored>;
  /** Where this tab has its access token over reloads. */
  tabToken: { read: () => string | null; write: (token: string | null) => void };
  channel: Pick<BroadcastChannel, 'postMessage' | 'addEventListener'>;
  /** Runs one renewal at a time among all tabs. */
  exclusively: <T>(run: () => Promise<T>) => Promise<T>;
  /** Exchanges a refresh token; null if the API does not take it. */
  exchange: (refreshToken: string) => Promise<Tokens | null>;
  now: () => number;
};

export type Session = ReturnType<typeof createSession>;

/** A token that ends while its request travels is no use. */
const MARGIN = 30_000;
/** How long to wait for another tab that has a token. */
const ANSWER_TIME = 100;

/**
 * Who is signed in. Each tab has its access token, which a reload keeps: a renewal that a reload interrupts would have
 * spent the refresh token for nothing. A tab that has none asks the others, and if none answers it spends the refresh
 * token, under a lock: the API ends a session whose refresh token is used twice.
 */
export function createSession(parts: SessionParts) {
  const { stored, tabToken, channel, exclusively, exchange, now } = parts;
  let access = tabToken.read();
  let renewing: Promise<string | null> | null = null;
  let expired = false;
  const waiting = new Set<(token: string) => void>();

  channel.addEventListener('message', (event) => {
    const message = (event as MessageEvent<Message>).data;
    if (message.type === 'ask') {
      if (access && isFresh(access)) channel.postMessage({ type: 'token', token: access });
    } else if (isOurs(message.token)) {
      keep(message.token);
      for (const resolve of waiting) resolve(message.token);
      waiting.clear();
    }
  });

  function keep(token: string | null) {
    access = token;
    tabToken.write(token);
  }

  function isFresh(token: string): boolean {
    return (claimsOf(token)?.exp ?? 0) * 1000 - now() > MARGIN;
  }

  function isOurs(token: string): boolean {
    return claimsOf(token)?.sub === stored.read()?.user.id;
  }

  function otherThan(spent: string | null): string | null {
    return access && access !== spent && isFresh(access) && isOurs(access) ? access : null;
  }

  async function accessToken(): Promise<string | null> {
    if (!stored.read()) {
      keep(null);
      return null;
    }
    if (access && isFresh(access) && isOurs(access)) return access;
    return renew(access);
  }

  /** Another token than `spent`, which has run out or was refused. */
  async function renew(spent: string | null): Promise<string | null> {
    const known = otherThan(spent);
    if (known) return known;
    renewing ??= exclusively(() => renewOnce(spent)).finally(() => {
      renewing = null;
    });
    return renewing;
  }

  async function renewOnce(spent: string | null): Promise<string | null> {
    // While this tab waited for its turn, the one before it may have told its token.
    const shared = otherThan(spent) ?? (await askOtherTabs());
    if (shared && shared !== spent) return shared;
    const before = stored.read();
    if (!before) return null;
    const tokens = await exchange(before.refreshToken);
    // Whoever signed in or out meanwhile has the last word.
    if (stored.read()?.refreshToken !== before.refreshToken) return null;
    if (tokens) start(tokens);
    else end(true);
    return tokens?.token ?? null;
  }

  function askOtherTabs(): Promise<string | null> {
    return new Promise((resolve) => {
      const answered = (token: string) => {
        clearTimeout(timer);
        resolve(token);
      };
      const timer = setTimeout(() => {
        waiting.delete(answered);
        resolve(null);
      }, ANSWER_TIME);
      waiting.add(answered);
      channel.postMessage({ type: 'ask' });
    });
  }

  function start({ token, refreshToken, user }: Tokens) {
    keep(token);
    expired = false;
    stored.write({ refreshToken, user });
    channel.postMessage({ type: 'token', token });
  }

  function end(because: boolean) {
    keep(null);
    expired = because;
    stored.write(null);
  }

  return {
    accessToken,
    renew,
    start,
    end: () => end(false),
    user: (): User | null => stored.read()?.user ?? null,
    /** Whether the session ended by itself, so that the page can say so. */
    hasExpired: () => expired,
    update(user: User) {
      const current = stored.read();
      // An answer may come after somebody else has signed in.
      if (current?.user.id === user.id) stored.write({ ...current, user });
    },
    subscribe: (listener: () => void) => stored.subscribe(listener),
  };
}

type Claims = { sub: string; exp: number };

function claimsOf(token: string): Claims | null {
  try {
    const part = token.split('.')[1] ?? '';
    return JSON.parse(atob(part.replace(/-/g, '+').replace(/_/g, '/'))) as Claims;
  } catch {
    return null;
  }
}
