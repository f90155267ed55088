// @vitest-environment node
/// <reference types="node" />
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import english from './locales/en/shop.json';

const api = new URL('../../../crates/api/', import.meta.url);
const openapi = readFileSync(new URL('openapi.json', api), 'utf8');

/** The programs' part of each file, without its tests. */
const programs = readdirSync(new URL('src/', api), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.rs'))
  .map((name) => readFileSync(new URL(`src/${name}`, api), 'utf8').split('#[cfg(test)]')[0])
  .join('\n');

/** The codes that the API's sources name: in `code: …` of an error, in `fn code`, and in its document. */
function codesOfApi(): string[] {
  const constants = new Map(
    Array.from(programs.matchAll(/const (\w+): &str =\s*"(\w+)"/g), ([, name, text]) => [
      name,
      text,
    ]),
  );
  const ofEnum = /fn code\(&self\) -> &'static str \{\s*match self \{(.*?)\n {4}\}/s.exec(programs);
  const places = [
    ...programs.matchAll(/\bcode: (?:"(\w+)"|([A-Z_]+)\b)/g),
    ...(ofEnum?.[1] ?? '').matchAll(/=> (?:"(\w+)"|([A-Z_]+)\b)/g),
    ...openapi.matchAll(/"code":\s*"(\w+)"/g),
  ];
  const codes = places.map(([, text, constant]) => text ?? constants.get(constant) ?? '');
  return [...new Set(codes)].sort();
}

describe('the codes of the API', () => {
  it('are found', () => {
    expect(codesOfApi()).toEqual(
      expect.arrayContaining([
        'invalid_fields',
        'idempotency_key_in_use',
        'overloaded',
        'sku_taken',
        'unknown_product',
      ]),
    );
    expect(codesOfApi()).not.toContain('');
  });

  it.each(codesOfApi())('%s has a text', (code) => {
    expect(english.problem).toHaveProperty(code);
  });
});
