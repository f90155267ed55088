/** Six digits, of which the first names one of India's nine postal zones. */
export const PIN_CODE = /^[1-9][0-9]{5}$/;

/** The ten digits of an Indian mobile number, or null. */
export function mobileNumber(text: string): string | null {
  const digits = text
    .replace(/[\s()-]/g, '')
    .replace(/^(\+91|0091|91(?=\d{10}$)|0(?=\d{10}$))/, '');
  return /^[6-9]\d{9}$/.test(digits) ? digits : null;
}

/** `name@bank`, the address of an account in the Unified Payments Interface. */
export const UPI_HANDLE = /^[a-zA-Z0-9._-]{2,64}@[a-zA-Z0-9]{2,32}$/;

/** Whether the digits of a card number satisfy its check digit (ISO/IEC 7812-1). */
export function isCardNumber(text: string): boolean {
  const digits = text.replace(/[\s-]/g, '');
  if (!/^\d{13,19}$/.test(digits)) return false;
  const sum = Array.from(digits)
    .reverse()
    .reduce((total, character, index) => {
      const digit = Number(character);
      if (index % 2 === 0) return total + digit;
      return total + (digit > 4 ? digit * 2 - 9 : digit * 2);
    }, 0);
  return sum % 10 === 0;
}
