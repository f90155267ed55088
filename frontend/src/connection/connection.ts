/**
 * Whether the shop can be reached: nothing at the user's end (`offline`), nobody at ours (`unreachable`), or somebody
 * who takes long (`slow`).
 */
export type Connection = 'online' | 'slow' | 'offline' | 'unreachable';

const PROBE_INTERVAL = 3000;

const listeners = new Set<() => void>();
let answered = true;
let overdue = 0;
let probing = false;
let probe: () => Promise<boolean> = () => Promise.resolve(true);

export function connectionState(): Connection {
  if (!navigator.onLine) return 'offline';
  if (!answered) return 'unreachable';
  return overdue > 0 ? 'slow' : 'online';
}

export function isReachable(): boolean {
  return ['online', 'slow'].includes(connectionState());
}

export function subscribeConnection(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function watchConnection(ask: () => Promise<boolean>) {
  probe = ask;
  window.addEventListener('online', notify);
  window.addEventListener('offline', notify);
}

/** A gateway's own error page means that the API behind it is away; a refusal of the API's is an answer. */
export function reportAnswer(response: Response) {
  const fromApi = response.status < 500 || response.headers.get('content-type')?.includes('json');
  if (fromApi) setAnswered(true);
  else reportSilence();
}

/** Counts a request among those that take long, if it takes longer than this; until the returned function is called. */
export function expectAnswer(milliseconds: number): () => void {
  let isOverdue = false;
  const timer = setTimeout(() => {
    isOverdue = true;
    overdue += 1;
    notify();
  }, milliseconds);
  return () => {
    clearTimeout(timer);
    if (!isOverdue) return;
    isOverdue = false;
    overdue -= 1;
    notify();
  };
}

/** Asks, unless there is no network to ask over, and waits for as long as nobody answers. */
export async function untilReachable(): Promise<void> {
  if (navigator.onLine && !(await probe().catch(() => false))) reportSilence();
  if (isReachable()) return;
  await new Promise<void>((resolve) => {
    const unsubscribe = subscribeConnection(() => {
      if (!isReachable()) return;
      unsubscribe();
      resolve();
    });
  });
}

export function reportSilence() {
  setAnswered(false);
  if (probing) return;
  probing = true;
  setTimeout(probeAgain, PROBE_INTERVAL);
}

function probeAgain() {
  if (answered) {
    probing = false;
    return;
  }
  probe()
    .catch(() => false)
    .then((ok) => {
      probing = !ok;
      if (ok) setAnswered(true);
      else setTimeout(probeAgain, PROBE_INTERVAL);
    })
    .catch(() => undefined);
}

function setAnswered(now: boolean) {
  if (answered === now) return;
  answered = now;
  notify();
}

function notify() {
  for (const listener of listeners) listener();
}
