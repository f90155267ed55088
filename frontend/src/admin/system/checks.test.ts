import { expect, it } from 'vitest';
import { checksOf } from './checks';
import type { Readiness } from './queries';

it('names the process first and then each dependency', () => {
  const report = {
    status: 'not ready',
    timestamp: '2026-01-31T00:00:00Z',
    checks: {
      queue: { status: 'error', responseTimeMs: null },
      service: 'ok',
      cache: { status: 'ok', responseTimeMs: 0.4 },
    },
  } as unknown as Readiness;
  expect(checksOf(report)).toEqual([
    { name: 'service', status: 'ok', milliseconds: null },
    { name: 'cache', status: 'ok', milliseconds: 0.4 },
    { name: 'queue', status: 'error', milliseconds: null },
  ]);
});
