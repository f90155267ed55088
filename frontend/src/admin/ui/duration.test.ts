import { expect, it } from 'vitest';
import { formatDuration } from './duration';

it.each([
  [0, '0 seconds'],
  [0.9, '0 seconds'],
  [59.9, '59 seconds'],
  [60, '1 minute'],
  [3599, '59 minutes'],
  [7200, '2 hours'],
  [86_400 * 3 + 5000, '3 days'],
])('%d s is %s', (seconds, text) => {
  expect(formatDuration(seconds)).toBe(text);
});

it('speaks Hindi', () => {
  expect(formatDuration(120, 'hi')).toBe('2 मिनट');
});
