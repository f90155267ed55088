import { describe, expect, it } from 'vitest';
import { isCardNumber, mobileNumber, PIN_CODE, UPI_HANDLE } from './validation';

describe('mobileNumber', () => {
  it.each(['9876543210', '+91 98765 43210', '098765-43210', '919876543210'])(
    'takes %s for an Indian mobile number',
    (text) => expect(mobileNumber(text)).toBe('9876543210'),
  );

  it('keeps a number that begins with 91', () => {
    expect(mobileNumber('9187654321')).toBe('9187654321');
  });

  it.each(['', '12345', '1234567890', '98765432101', '+1 415 555 0100', '98765x3210'])(
    'refuses %j',
    (text) => expect(mobileNumber(text)).toBeNull(),
  );
});

describe('PIN_CODE', () => {
  it('has six digits of which the first is not 0', () => {
    expect('560001').toMatch(PIN_CODE);
    expect('060001').not.toMatch(PIN_CODE);
    expect('56001').not.toMatch(PIN_CODE);
  });
});

describe('isCardNumber', () => {
  it('checks the last digit', () => {
    expect(isCardNumber('4111 1111 1111 1111')).toBe(true);
    expect(isCardNumber('4111 1111 1111 1112')).toBe(false);
    expect(isCardNumber('0')).toBe(false);
  });
});

describe('UPI_HANDLE', () => {
  it('is a name at a bank', () => {
    expect('priya.sharma@okbank').toMatch(UPI_HANDLE);
    expect('priya@example.in').not.toMatch(UPI_HANDLE);
  });
});
