import { createParser } from 'eventsource-parser';
import { problemOf } from '../api/problem';
import type { OrderStatus } from '../api/types';

export type OrderEvent = {
  id: number;
  from_status: OrderStatus | null;
  to_status: OrderStatus;
  reason: string | null;
  created_at: string;
};

export type Following = 'connecting' | 'live' | 'reconnecting' | 'ended' | 'refused';

export type FollowParts = {
  /** Asks for the events after `lastEventId`. Not by `EventSource`, which cannot send a token. */
  open: (lastEventId: string | null, signal: AbortSignal) => Promise<Response>;
  onEvent: (event: OrderEvent) => void;
  onState: (state: Following) => void;
  wait: (milliseconds: number, signal: AbortSignal) => Promise<void>;
  signal: AbortSignal;
};

const FIRST_WAIT = 3000;
/** Answers that stay the same: asked wrongly, not signed in, not allowed, not there. */
const REFUSALS = [400, 401, 403, 404];
/** The API sends something every 15 seconds. A stream without anything for longer than this is dead. */
const LONGEST_SILENCE = 40_000;

type Progress = { lastEventId: string | null; pause: number };

/** Follows an order to its end. Streams break, and end with their token: each next one goes on after the last event. */
export async function followOrder(parts: FollowParts): Promise<void> {
  const { signal, onState, wait } = parts;
  const progress: Progress = { lastEventId: null, pause: FIRST_WAIT };
  const isOver = () => signal.aborted;
  onState('connecting');
  while (!isOver()) {
    // No answer, or a stream that broke off, is no different from one that ended.
    const end = await readStream(parts, progress).catch(() => null);
    if (isOver()) return;
    if (end) {
      onState(end);
      return;
    }
    onState('reconnecting');
    await wait(progress.pause, signal);
  }
}

/** Reads one stream. Says how all is over, or nothing if it is to be gone on with. */
async function readStream(
  { open, onEvent, onState, signal }: FollowParts,
  progress: Progress,
): Promise<'ended' | 'refused' | null> {
  const response = await open(progress.lastEventId, signal);
  if (response.status === 204) return 'ended';
  if (!response.ok || !response.body) {
    const problem = await problemOf(response);
    if (REFUSALS.includes(problem.status)) return 'refused';
    if (problem.retryAfter !== null) progress.pause = problem.retryAfter * 1000;
    return null;
  }
  onState('live');
  const ends: string[] = [];
  const parser = createParser({
    onEvent({ id, event, data }) {
      if (id !== undefined) progress.lastEventId = id;
      if (event === 'status') onEvent(JSON.parse(data) as OrderEvent);
      if (event === 'end') ends.push(event);
    },
    onRetry(milliseconds) {
      progress.pause = milliseconds;
    },
  });
  for await (const text of textOf(response.body)) parser.feed(text);
  return ends.length > 0 ? 'ended' : null;
}

async function* textOf(body: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const timer = setTimeout(() => void reader.cancel(), LONGEST_SILENCE);
      const { done, value } = await reader.read().finally(() => clearTimeout(timer));
      if (done) return;
      yield decoder.decode(value, { stream: true });
    }
  } finally {
    reader.releaseLock();
  }
}
