import i18next from 'i18next';
import { beforeAll, describe, expect, it } from 'vitest';
import { Problem } from '../api/problem';
import english from '../i18n/locales/en/fields.json';
import englishShop from '../i18n/locales/en/shop.json';
import hindi from '../i18n/locales/hi/fields.json';
import hindiShop from '../i18n/locales/hi/shop.json';
import { fieldText } from './field-text';

beforeAll(async () => {
  await i18next.init({
    lng: 'hi',
    defaultNS: 'shop',
    resources: {
      en: { shop: englishShop, fields: english },
      hi: { shop: hindiShop, fields: hindi },
    },
    showSupportNotice: false,
  });
});

/** Every message of the API's sources that a form or a file can get, with what stands in for its values. */
const SAID = [
  'is required',
  'must be a text of 8 to 128 characters',
  'must not contain control characters',
  'must not contain NUL characters',
  'must be a whole number from 1 to 10000',
  'must be a whole number of at least 0',
  'must have 1 to 100 entries',
  'must be an e-mail address',
  'must be an http or https URL, or a path',
  'must be true or false',
  'must be a number of rupees such as 4999 or 4999.5',
  'must not be negative',
  'must have at most two decimals',
  'must be at most 9999999999.99',
  'must be one of upi, credit_card',
  'must be a UUID',
  'is one of the most common passwords; any other of 8 to 128 characters is allowed',
  'must be neither the e-mail address nor the name',
  'must be the one of the latest mail, before it ends, and not used yet; ask for a new mail',
  'is not a test card number of the sandbox; never send a real one',
  'cost more than an order can hold',
  'there is no product 139c77b1-39c1-417b-be35-f708f090179b',
  'there is no such user',
  'Tea (139c77b1): 5 requested, 3 left',
  'must be 465.50',
  'must be an RFC 3339 time such as 2026-01-31T18:30:00Z',
  'must not be before from',
  'must be there once',
  'is no column; there are sku, name',
  'is a required column',
  'must name the columns: at least sku, name',
  'is not valid UTF-8',
  'has a quote in the wrong place: a field that has one is put between quotes, and each in it is written twice',
  'is one too many: there may be 100000 products',
  'has 3 fields instead of 7',
  'is that of line 4 as well',
  'has 199 more errors',
  'is that of a product that is no longer sold',
];

describe('fieldText', () => {
  it.each(SAID)('has words in Hindi for: %s', (message) => {
    const text = fieldText(new Problem(400, { code: 'invalid_fields' }), message);
    expect(text).toMatch(/[\u0900-\u097f]/);
    expect(text).not.toContain('{{');
  });

  it('keeps the values', () => {
    const text = fieldText(new Problem(400, {}), 'must be a text of 8 to 128 characters');
    expect(text).toBe('कृपया 8 से 128 अक्षर लिखें।');
  });

  it('says of the field of a conflict what is said of the conflict', () => {
    const error = 'An account with this email already exists';
    const problem = new Problem(409, { code: 'email_taken', error });
    expect(fieldText(problem, error)).toBe('इस ई-मेल पते का खाता पहले से है।');
  });

  it("falls back to the API's own words", () => {
    expect(fieldText(new Problem(400, {}), 'must be blue')).toBe('must be blue');
  });

  it('needs every text that there is', () => {
    const shown = new Set(SAID.map((message) => fieldText(new Problem(400, {}), message)));
    expect(shown.size).toBeGreaterThanOrEqual(Object.keys(hindi).length);
  });
});
