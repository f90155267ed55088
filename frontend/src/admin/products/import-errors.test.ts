import { expect, it } from 'vitest';
import { importErrorsOf, linesOf } from './import-errors';

it('finds the line and the column of what is wrong, in the order of the file', () => {
  const { cells, others } = importErrorsOf([
    { field: 'line 12: price', message: 'must have at most two decimals' },
    { field: 'line 3', message: 'has 5 cells and not 4' },
    { field: 'body', message: 'must be UTF-8' },
  ]);
  expect(cells).toEqual([
    { line: 3, column: '', message: 'has 5 cells and not 4' },
    { line: 12, column: 'price', message: 'must have at most two decimals' },
  ]);
  expect(others).toEqual([{ field: 'body', message: 'must be UTF-8' }]);
});

it('counts lines as an editor does, whatever they end with', () => {
  expect(linesOf('a\r\nb\rc\nd')).toEqual(['a', 'b', 'c', 'd']);
});
