import { randomKey } from '../lib/random';

/** Runs one thing of a name at a time among all tabs of the shop. */
export async function exclusively<T>(name: string, run: () => Promise<T>): Promise<T> {
  // Web Locks are for secure contexts; a shop tried out at http://10.0.0.5 has none.
  if (!('locks' in navigator)) return withLease(name, run);
  return await navigator.locks.request(name, run);
}

/** Longer than a request may take. */
const LEASE = 25_000;
const SETTLE = 50;

/** A lease in localStorage: written, and held by whoever finds it still there after others had time to write theirs. */
async function withLease<T>(name: string, run: () => Promise<T>): Promise<T> {
  const key = `${name}.lease`;
  const owner = randomKey();
  for (;;) {
    const [holder, until] = (localStorage.getItem(key) ?? '').split('/');
    if (holder === owner) break;
    if (!holder || Number(until) < Date.now()) {
      localStorage.setItem(key, `${owner}/${Date.now() + LEASE}`);
    }
    await new Promise((resolve) => setTimeout(resolve, SETTLE));
  }
  try {
    return await run();
  } finally {
    if (localStorage.getItem(key)?.startsWith(owner)) localStorage.removeItem(key);
  }
}
