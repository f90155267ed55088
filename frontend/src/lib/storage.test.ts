import { afterEach, expect, it, vi } from 'vitest';
import { slot } from './storage';

afterEach(() => localStorage.clear());

const isText = (value: unknown): value is string => typeof value === 'string';

it('keeps the newest value where the browser has no room for it', () => {
  const note = slot('note', isText);
  note.write('old');
  const full = vi.spyOn(Storage.prototype, 'setItem').mockImplementation(() => {
    throw new DOMException('full', 'QuotaExceededError');
  });
  note.write('new');
  expect(note.read()).toBe('new');
  full.mockRestore();
  note.write('newest');
  expect(slot('note', isText).read()).toBe('newest');
});
