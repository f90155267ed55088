import { describe, expect, it } from 'vitest';

type Texts = { [key: string]: string | Texts };

const files = import.meta.glob<Texts>('./locales/*/*.json', { eager: true, import: 'default' });

/** Every key with the names of what is put into its text. */
function shapeOf(texts: Texts, prefix = ''): string[] {
  return Object.entries(texts).flatMap(([key, text]) =>
    typeof text === 'string'
      ? [`${prefix}${key} ${(text.match(/\{\{\w+\}\}/g) ?? []).sort().join(' ')}`]
      : shapeOf(text, `${prefix}${key}.`),
  );
}

describe.each(Object.keys(files).filter((path) => path.includes('/en/')))('%s', (path) => {
  it('is complete in Hindi', () => {
    const english = files[path];
    const hindi = files[path.replace('/en/', '/hi/')];
    expect(hindi && shapeOf(hindi)).toEqual(english && shapeOf(english));
  });
});
