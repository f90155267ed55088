import i18next from 'i18next';
import type { Problem } from '../api/problem';
import type fields from '../i18n/locales/en/fields.json';
import { messageOf } from './trouble';

/** What the API says of a field, and the name of our text for it. What the groups match is put into the text. */
const TEXTS: readonly (readonly [RegExp, keyof typeof fields])[] = [
  [/^is required$/, 'required'],
  [/^must be a text of (?<min>\d+) to (?<max>\d+) characters$/, 'length'],
  [/^must not contain (control|NUL) characters$/, 'controlCharacters'],
  [/^must be a whole number from (?<min>-?\d+) to (?<max>\d+)$/, 'wholeFromTo'],
  [/^must be a whole number of at least (?<min>-?\d+)$/, 'wholeFrom'],
  [/^must have (?<min>\d+) to (?<max>\d+) entries$/, 'entries'],
  [/^must be an e-mail address$/, 'email'],
  [/^must be an http or https URL, or a path$/, 'url'],
  [/^must be true or false$/, 'truth'],
  [/^must be a number of rupees /, 'rupees'],
  [/^must not be negative$/, 'negative'],
  [/^must have at most two decimals$/, 'decimals'],
  [/^must be at most (?<max>[\d.]+)$/, 'atMost'],
  [/^must be one of (?<allowed>.+)$/, 'oneOf'],
  [/^must be a UUID$/, 'identifier'],
  [/^is one of the most common passwords/, 'commonPassword'],
  [/^must be neither the e-mail address nor the name$/, 'personalPassword'],
  [/^must be the one of the latest mail/, 'mailedToken'],
  [/^is not a test card number of the sandbox/, 'testCard'],
  [/^cost more than an order can hold$/, 'tooDear'],
  [/^there is no product (?<id>\S+)$/, 'noProduct'],
  [/^there is no such user$/, 'noUser'],
  [/^(?<name>.+) \(\S+\): (?<requested>\d+) requested, (?<available>\d+) left$/, 'left'],
  [/^must be (?<value>\d[\d.]*)$/, 'exactly'],
  [/^must be an RFC 3339 time /, 'time'],
  [/^must not be before from$/, 'beforeFrom'],
  [/^must be there once$/, 'once'],
  [/^is no column; there are (?<columns>.+)$/, 'noColumn'],
  [/^is a required column$/, 'neededColumn'],
  [/^must name the columns: at least (?<columns>.+)$/, 'columns'],
  [/^is not valid UTF-8$/, 'utf8'],
  [/^has a quote in the wrong place/, 'strayQuote'],
  [/^is one too many: there may be (?<max>\d+) products$/, 'tooManyLines'],
  [/^has (?<has>\d+) fields instead of (?<needed>\d+)$/, 'valueCount'],
  [/^is that of line (?<line>\d+) as well$/, 'sameAsLine'],
  [/^has (?<number>\d+) more errors$/, 'moreErrors'],
  [/^is that of a product that is no longer sold$/, 'noLongerSold'],
];

/** Before `fieldText`. Without the texts, as when they cannot be loaded, it says what the API says. */
export async function loadFieldTexts(): Promise<void> {
  await i18next.loadNamespaces('fields');
}

/** What the API says of a field, in the user's language where there are words of ours for it. */
export function fieldText(problem: Problem, message: string): string {
  // A conflict says of its field what it says anyway.
  if (message === problem.message) return messageOf(problem, i18next.t);
  for (const [pattern, key] of TEXTS) {
    const match = pattern.exec(message);
    if (match) return i18next.t(key, { ns: 'fields', defaultValue: message, ...match.groups });
  }
  return message;
}
