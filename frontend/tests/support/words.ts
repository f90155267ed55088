import { readFileSync } from 'node:fs';

export const LANGUAGES = ['en', 'hi'] as const;
export type Language = (typeof LANGUAGES)[number];

/** What the storefront calls something, by the name that its translations have for it, such as `cart.add`. */
export function wordsOf(language: Language, area: 'shop' | 'admin' = 'shop') {
  const file = new URL(`../../src/i18n/locales/${language}/${area}.json`, import.meta.url);
  const texts: unknown = JSON.parse(readFileSync(file, 'utf8'));
  return (name: string): string => {
    const text = name
      .split('.')
      .reduce<unknown>((part, key) => (part as Record<string, unknown>)[key], texts);
    if (typeof text !== 'string') throw new Error(`There is no text ${name} in ${file.pathname}`);
    return text;
  };
}

export type Words = ReturnType<typeof wordsOf>;
