import { describe, expect, it, vi } from 'vitest';
import { followOrder, type Following, type OrderEvent } from './follow';

function stream(...chunks: string[]): Response {
  const encoder = new TextEncoder();
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(encoder.encode(chunk));
      controller.close();
    },
  });
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } });
}

const status = (id: number, to: string) =>
  `id: ${id}\nevent: status\ndata: {"id":${id},"to_status":"${to}"}\n\n`;

async function follow(answers: (Response | Error)[]) {
  const asked: (string | null)[] = [];
  const states: Following[] = [];
  const events: OrderEvent[] = [];
  const wait = vi.fn(() => Promise.resolve());
  await followOrder({
    signal: new AbortController().signal,
    open(lastEventId) {
      asked.push(lastEventId);
      const answer = answers.shift() ?? new Response(null, { status: 204 });
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
    onEvent: (event) => events.push(event),
    onState: (state) => states.push(state),
    wait,
  });
  return { asked, states, wait, seen: events.map((event) => event.to_status) };
}

describe('followOrder', () => {
  it('goes on after the last event when a stream breaks off', async () => {
    const { asked, seen, states } = await follow([
      stream(status(1, 'pending'), status(2, 'processing')),
      stream(status(3, 'shipped')),
    ]);
    expect(asked).toEqual([null, '2', '3']);
    expect(seen).toEqual(['pending', 'processing', 'shipped']);
    expect(states.at(-1)).toBe('ended');
  });

  it('reads events that arrive in pieces', async () => {
    const text = status(1, 'pending');
    const { seen } = await follow([stream(text.slice(0, 9), text.slice(9, 31), text.slice(31))]);
    expect(seen).toEqual(['pending']);
  });

  it('goes on after an error of the API, and stops where it is refused', async () => {
    const answer = (status: number) =>
      new Response('{"code":"x"}', { status, headers: { 'content-type': 'application/json' } });
    expect((await follow([answer(500), stream(status(1, 'shipped'))])).seen).toEqual(['shipped']);
    const refused = await follow([answer(403), stream(status(1, 'shipped'))]);
    expect(refused.states.at(-1)).toBe('refused');
    expect(refused.seen).toEqual([]);
  });

  it('stays away after the end', async () => {
    const { asked, states } = await follow([
      stream(status(1, 'delivered'), 'event: end\ndata:\n\n'),
    ]);
    expect(asked).toHaveLength(1);
    expect(states).toEqual(['connecting', 'live', 'ended']);
  });

  it('waits as long as it is told to', async () => {
    const busy = new Response('{"code":"overloaded"}', {
      status: 503,
      headers: { 'retry-after': '7', 'content-type': 'application/problem+json' },
    });
    const { wait } = await follow([
      stream('retry: 1500\n\n'),
      busy,
      new TypeError('connection refused'),
    ]);
    const waits = wait.mock.calls.map((call) => (call as unknown[])[0]);
    expect(waits).toEqual([1500, 7000, 7000]);
  });

  it('takes a stream that says nothing for dead', async () => {
    vi.useFakeTimers();
    const silent = new Response(new ReadableStream<Uint8Array>());
    const following = follow([silent, stream(status(1, 'shipped'))]);
    await vi.advanceTimersByTimeAsync(39_000);
    const still = Symbol('still');
    expect(await Promise.race([following, Promise.resolve(still)])).toBe(still);
    await vi.advanceTimersByTimeAsync(1000);
    expect((await following).seen).toEqual(['shipped']);
    vi.useRealTimers();
  });

  it('gives up what it may not see', async () => {
    const { states } = await follow([
      new Response('{"code":"not_found"}', {
        status: 404,
        headers: { 'content-type': 'application/problem+json' },
      }),
    ]);
    expect(states.at(-1)).toBe('refused');
  });
});
