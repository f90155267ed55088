import { expect, it } from 'vitest';
import { formatDate, formatDateTime } from './dates';

it('shows an instant as the clock in India does', () => {
  expect(formatDateTime('2026-01-01T20:00:00Z')).toMatch(/2 Jan 2026.*1:30/);
  expect(formatDate('2026-01-01T18:29:59Z')).toBe('1 Jan 2026');
  expect(formatDate('2026-01-01T18:30:00Z')).toBe('2 Jan 2026');
});
