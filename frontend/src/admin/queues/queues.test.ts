import { describe, expect, it, vi } from 'vitest';
import { Problem } from '../../api/problem';
import { oneByOne } from './one-by-one';
import { canRemove, canRetry, statesOf } from './states';

describe('what can be done with a job', () => {
  it('depends on its state', () => {
    expect(canRetry({ state: 'failed', kept_by: 'queue' })).toBe(true);
    expect(canRetry({ state: 'waiting', kept_by: 'queue' })).toBe(false);
    expect(canRetry({ state: 'refused', kept_by: 'outbox' })).toBe(true);
    expect(canRemove({ id: '7', state: 'active' })).toBe(false);
    expect(canRemove({ id: '7', state: 'delayed' })).toBe(true);
    expect(canRemove({ id: 'repeat:clean-up:1795874918231', state: 'delayed' })).toBe(false);
  });

  it('is asked of failed jobs alone where the API does the work', () => {
    expect(statesOf('in-process')).toEqual(['failed']);
    expect(statesOf('bull-queue')).toContain('delayed');
    expect(statesOf(undefined)[0]).toBe('failed');
  });
});

describe('one by one', () => {
  it('passes over jobs that others have moved on', async () => {
    const act = vi
      .fn<(job: number) => Promise<void>>()
      .mockRejectedValueOnce(new Problem(409, {}))
      .mockRejectedValueOnce(new Problem(404, {}))
      .mockResolvedValue();
    await expect(oneByOne([1, 2, 3, 4], act)).resolves.toBe(2);
  });

  it('stops when the API has had enough', async () => {
    const act = vi
      .fn<(job: number) => Promise<void>>()
      .mockResolvedValueOnce()
      .mockRejectedValue(new Problem(429, {}, 5));
    await expect(oneByOne([1, 2, 3], act)).rejects.toMatchObject({ status: 429 });
    expect(act).toHaveBeenCalledTimes(2);
  });
});
