const formats = new Map<string, Intl.NumberFormat>();

function formatFor(language: string, decimals: 0 | 2): Intl.NumberFormat {
  const key = `${language}/${decimals}`;
  let format = formats.get(key);
  if (!format) {
    format = new Intl.NumberFormat(`${language}-IN`, {
      style: 'currency',
      currency: 'INR',
      minimumFractionDigits: decimals,
      maximumFractionDigits: decimals,
    });
    formats.set(key, format);
  }
  return format;
}

/** `1234567` is ₹12,34,567, and paise are shown only where there are any. */
export function formatRupees(rupees: number, language = 'en'): string {
  return formatFor(language, Number.isInteger(rupees) ? 0 : 2).format(rupees);
}

/** Rupees times a quantity, reckoned in paise: 0.1 + 0.2 must not become 0.30000000000000004. */
export function lineTotal(rupees: number, quantity: number): number {
  return (Math.round(rupees * 100) * quantity) / 100;
}

export function sumRupees(amounts: readonly number[]): number {
  return amounts.reduce((paise, rupees) => paise + Math.round(rupees * 100), 0) / 100;
}
