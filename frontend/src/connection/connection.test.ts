import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  connectionState,
  expectAnswer,
  reportSilence,
  untilReachable,
  watchConnection,
} from './connection';
import { load } from './load';

let isAnswering = true;

beforeEach(() => {
  vi.useFakeTimers();
  isAnswering = true;
  watchConnection(() => Promise.resolve(isAnswering));
});

afterEach(async () => {
  isAnswering = true;
  await vi.runAllTimersAsync();
  vi.useRealTimers();
});

describe('the connection', () => {
  it('is slow while any answer is overdue', () => {
    const first = expectAnswer(1000);
    const second = expectAnswer(1000);
    vi.advanceTimersByTime(999);
    expect(connectionState()).toBe('online');
    vi.advanceTimersByTime(1);
    expect(connectionState()).toBe('slow');
    first();
    first();
    expect(connectionState()).toBe('slow');
    second();
    expect(connectionState()).toBe('online');
  });

  it('is back when somebody answers again', async () => {
    isAnswering = false;
    reportSilence();
    await vi.advanceTimersByTimeAsync(9000);
    expect(connectionState()).toBe('unreachable');
    isAnswering = true;
    await vi.advanceTimersByTimeAsync(3000);
    expect(connectionState()).toBe('online');
    await untilReachable();
  });

  it('asks nobody while there is no network', async () => {
    const probe = vi.fn(() => Promise.resolve(true));
    watchConnection(probe);
    const network = vi.spyOn(navigator, 'onLine', 'get').mockReturnValue(false);
    const reachable = untilReachable();
    await vi.advanceTimersByTimeAsync(9000);
    expect(probe).not.toHaveBeenCalled();
    network.mockRestore();
    window.dispatchEvent(new Event('online'));
    await reachable;
  });
});

describe('load', () => {
  it('asks again when the shop is back', async () => {
    isAnswering = false;
    const part = vi.fn(() => (isAnswering ? Promise.resolve('page') : Promise.reject(new Error())));
    const loading = load(part);
    await vi.advanceTimersByTimeAsync(9000);
    expect(part).toHaveBeenCalledTimes(1);
    isAnswering = true;
    await vi.advanceTimersByTimeAsync(3000);
    expect(await loading).toBe('page');
  });

  it('gives up what is missing though the shop answers', async () => {
    const part = vi.fn(() => Promise.reject(new Error('404')));
    await expect(load(part)).rejects.toThrow('404');
    expect(part).toHaveBeenCalledTimes(2);
  });
});
