import { beforeEach, expect, it } from 'vitest';
import type { User } from '../api/types';
import { keepDraft, readDraft } from './draft';

const priya = { id: 'priya', full_name: 'Priya' } as User;
const arjun = { id: 'arjun', full_name: 'Arjun' } as User;

beforeEach(() => sessionStorage.clear());

it('is kept over a reload, and shown to nobody else in the same tab', () => {
  keepDraft(priya, { name: 'Priya Nair', street: '12 MG Road' });
  expect(readDraft(priya)).toMatchObject({ name: 'Priya Nair', street: '12 MG Road' });
  expect(readDraft(arjun)).toMatchObject({ name: 'Arjun', street: '' });
});
