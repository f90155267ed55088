/** Whether the shop can be reached: nothing at the user's end (`offline`), or nobody at ours (`unreachable`). */
export type Connection = 'online' | 'offline' | 'unreachable';

const PROBE_INTERVAL = 3000;

const listeners = new Set<() => void>();
let answered = true;
let probing = false;
let probe: () => Promise<boolean> = () => Promise.resolve(true);

export function connectionState(): Connection {
  if (!navigator.onLine) return 'offline';
  return answered ? 'online' : 'unreachable';
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
