import { describe, expect, it } from 'vitest';
import { formatRupees, lineTotal, sumRupees } from './money';

describe('formatRupees', () => {
  it('groups by lakh and crore', () => {
    expect(formatRupees(1234567)).toBe('₹12,34,567');
    expect(formatRupees(123456789)).toBe('₹12,34,56,789');
  });

  it('shows paise only where there are any', () => {
    expect(formatRupees(499)).toBe('₹499');
    expect(formatRupees(4999.5)).toBe('₹4,999.50');
  });

  it('groups alike in Hindi', () => {
    expect(formatRupees(1234567, 'hi')).toBe('₹12,34,567');
  });
});

describe('sums', () => {
  it('are exact to the paisa', () => {
    expect(sumRupees([0.1, 0.2])).toBe(0.3);
    expect(lineTotal(19.99, 3)).toBe(59.97);
  });
});
