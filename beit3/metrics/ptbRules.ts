/**
 * One kind of token: `pattern` is the token, in a group, and after it what must follow. The rule with the longest match
 * (what must follow counted) wins, of equal ones the earlier.
 */
export interface Rule {
  readonly pattern: RegExp;
  /** What becomes of the text where it does not stay; '' leaves it out. */
  readonly write?: (text: string) => string;
  /** The token is only so many characters of the match; the rest is read again. */
  readonly length?: (text: string) => number;
}

interface RuleOptions {
  readonly before?: string;
  /** Whether the pattern's capitals mean capitals. */
  readonly exactCase?: boolean;
  readonly write?: string | ((text: string) => string);
  readonly length?: (text: string) => number;
}

function rule(token: string, { before = '', exactCase = false, write, length }: RuleOptions = {}): Rule {
  return {
    pattern: new RegExp(`(${token})${before}`, exactCase ? 'uy' : 'iuy'),
    write: typeof write === 'string' ? () => write : write,
    length,
  };
}

/** Words of a list, as alternatives of a pattern. */
const any = (list: string) => `(?:${list.trim().split(/\s+/).join('|')})`;

/** Captions are joined by line feeds; other line ends are spaces by now. */
const BLANK = '[ \\t\\xa0\\u2000-\\u200a\\u3000\\n]';
/** Marks of Latin, Greek and Cyrillic letters are letters. */
const LETTER = '[\\p{L}\\u0300-\\u036f]';
const WORD_END = '[\\p{L}\\u0300-\\u036f\\p{Nd}]*';
const ALNUM = '[\\p{L}\\p{Nd}]';
const APOSTROPHE = "(?:['\\u2019]|&apos;)";
const QUOTE_AS_APOSTROPHE = "(?:['\\u2019`\\u2018]|&apos;)";
const PAUSE = '[,;:]';

/** Words run on over periods, question and exclamation marks without a space: `grass.the` is one, as is `p.m`. */
const WORD = `${LETTER}${WORD_END}(?:[.!?]${LETTER}${WORD_END})*`;
/** What is cut off the end of words. */
const CLITIC = `${APOSTROPHE}(?:s|m|d|re|ve|ll)`;
const NOT = `n${QUOTE_AS_APOSTROPHE}t`;
/** One part of a hyphenated word, `o'clock` too. */
const PART = `(?:[dlo]${QUOTE_AS_APOSTROPHE}${ALNUM})?${ALNUM}+`;
const HYPHENATED = `${PART}(?:[-_\\u2010\\u2011]${PART})*`;
/** The first part may have periods and commas inside: `3.5-inch`, and even `red,white-blue`. */
const COMPOUND = '[a-z0-9][a-z0-9.,]*(?:-[a-z0-9]+)+';
const JOINED_CAPITALS = '[A-Z]+(?:(?:[+&]|&amp;)[A-Z]+)+';
const SLASH_PART = '[a-z0-9]+(?:-[a-z]+){0,2}';

const MONTHS_AND_DAYS = any('jan feb mar apr jun jul aug sept? oct nov dec mon tues? wed thu thurs fri');
const STATES = any(`ala ariz calif colo conn fla ga ind kan ky md mich minn mo mont neb nev okla penn tenn va vt wis
  wyo`);
/** States that are words too, unless they begin with a capital. */
const CAPITAL_STATES = any('Ark Del Ill La Mass Miss Ore Pa Tex Wash');
const OTHERS = any('inc co corp ltd jr sr bros blvd rd esq etc ph\\.d');
const TITLES = any(`mr mrs ms dr prof sen rep gov pres lt col gen maj sgt capt adm rev hon st ave mt ft dept vs`);

/** With one of these a new sentence begins after a single letter and its period. */
const OPENERS = any(`A An The This That These There Their They He Her She It We You One Some Many More Other Our Such
  About After As At In Once If Since So But However Here Now Then When While What`);

const NAMES: ReadonlyMap<string, string> = new Map([
  ['(', '-LRB-'],
  [')', '-RRB-'],
  ['[', '-LSB-'],
  [']', '-RSB-'],
  ['{', '-LCB-'],
  ['}', '-RCB-'],
  ['\u00bc', '1/4'],
  ['\u00bd', '1/2'],
  ['\u00be', '3/4'],
  ['\u2153', '1/3'],
  ['\u2154', '2/3'],
  ['\u00a2', 'cents'],
  ['\u00a3', '#'],
  ['\u20ac', '$'],
]);
const named = (text: string) => [...text].map((sign) => NAMES.get(sign) ?? sign).join('');
/** Spaces inside a token do not end it. */
const unbroken = (text: string) => text.replaceAll(' ', '\xa0');

const plainQuotes = (text: string) =>
  text
    .replace(/&apos;|\u2019/giu, "'")
    .replaceAll('\u2018', '`')
    .replaceAll('\u201c', '``')
    .replaceAll('\u201d', "''");

export const RULES: readonly Rule[] = [
  // Words that are two.
  rule('cannot|gonna|gotta|lemme|gimme|wanna', { length: () => 3 }),
  rule("'twas|'tis", { length: () => 2 }),

  rule('c\\+\\+|[cf]#'),
  rule('</?[a-z][a-z0-9]* */?>', { write: unbroken }),
  rule('[\\u2013-\\u2015]|&[mn]dash;', { write: '--' }),
  rule('&amp;', { write: '&' }),
  rule('&#[0-9]+;'),

  // Words, with and without what is cut off.
  rule(WORD, { before: CLITIC }),
  rule('[a-z]*[a-mo-z]', { before: NOT }),
  rule(WORD),
  // Words that keep their apostrophe.
  rule(`${APOSTROPHE}n${APOSTROPHE}?|[djl]${APOSTROPHE}|(?:ol|somethin)${APOSTROPHE}`),
  rule(`${APOSTROPHE}(?:em|till?|cause|[2-9]0s)`),
  rule(any("c'mon e'er ev'ry li'l nor'easter s'mores")),
  rule(`[A-HJ-XZn]${QUOTE_AS_APOSTROPHE}\\p{L}{2,}`, { exactCase: true }),
  rule(`\\p{L}+[aeiouyAEIOUY]${QUOTE_AS_APOSTROPHE}[aeiouA-Z]\\p{L}*`, { exactCase: true }),
  rule(`y${APOSTROPHE}`, { before: '\\p{L}' }),
  // Addresses and names of the web.
  rule('(?:https?://|www\\.)[^\\s\\0"<>|(){}]*[^\\s\\0"<>|(){}.,!?-]'),
  rule('[a-z0-9][\\w.+-]*@[\\w-]+(?:\\.[\\w-]+)*'),
  rule(`@[a-z_]\\w*|#${LETTER}+`),
  rule(`${CLITIC}|${NOT}`, { before: '[^a-zA-Z]', write: plainQuotes }),

  // Dates, numbers and times, powers, fractions.
  rule('\\p{Nd}{1,2}[-/]\\p{Nd}{1,2}[-/]\\p{Nd}{2,4}'),
  rule('[-+]?(?:\\p{Nd}*(?:[.:,]\\p{Nd}+)+|\\p{Nd}+)'),
  rule('[\\xb9\\xb2\\xb3\\u2070-\\u2079]+|[\\u2080-\\u2089]+'),
  rule('(?:\\p{Nd}{1,4}[- \\xa0])?\\p{Nd}{1,4}[/\\u2044]\\p{Nd}{1,4}', { write: unbroken }),
  rule('[\\xbc-\\xbe\\u2153-\\u215e]', { write: named }),
  rule(`${SLASH_PART}(?:/${SLASH_PART}){1,2}`),
  rule('[A-Z]*\\$|#', { exactCase: true }),
  rule('[\\xa2-\\xa5\\u20ac]', { write: named }),

  // Abbreviations keep their period; what follows most of them counts for the length of the match.
  rule('[a-zA-Z]\\.', { before: `${BLANK}+${OPENERS}${BLANK}`, exactCase: true, length: () => 1 }),
  rule('(?:ca|figs?|nos?|pp)\\.', { before: `${BLANK}?\\p{Nd}` }),
  rule(`(?:${MONTHS_AND_DAYS}|${STATES}|${OTHERS})\\.`, { before: '[^]{0,2}' }),
  rule(`${CAPITAL_STATES}\\.`, { before: '[^]{0,2}', exactCase: true }),
  rule(`(?:${TITLES}|[a-z](?:\\.[a-z])*)\\.`),
  rule(`${APOSTROPHE}[0-9]{2}`, { before: BLANK }),
  rule(`${ALNUM}+\\.(?:jpe?g|png|gif|pdf|txt|html?)`, { before: `(?:${BLANK}|[.?!,])` }),
  // So does any word before a pause.
  rule(`(?:${WORD}|${COMPOUND}|${HYPHENATED})\\.`, { before: PAUSE }),
  rule(`${JOINED_CAPITALS}\\.`, { before: PAUSE, exactCase: true }),

  // Signs.
  rule('["\\u201c\\u201d]|&quot;', { write: "''" }),
  rule('<|&lt;', { write: '<' }),
  rule('>|&gt;', { write: '>' }),
  rule("[:;=]['o-]?[()DPdp]", { before: '[^a-zA-Z0-9]', exactCase: true, write: named }),
  rule('[()[\\]{}]', { write: named }),
  rule('-+', { write: (text) => (text.length === 3 || text.length === 4 ? '--' : text) }),
  rule('(?:\\.[ \\xa0]){2,4}\\.|\\.{3,5}|\\u2026', { write: '...' }),
  rule('@+|#+|_+|\\*+|[?!]+'),
  rule('[,;:.=/\\xa1\\xbf\\u3001\\u3002]'),

  // Words with hyphens, ampersands and digits.
  rule(COMPOUND),
  rule(HYPHENATED),
  rule(JOINED_CAPITALS, { exactCase: true, write: (text) => text.replaceAll('&amp;', '&') }),

  // Quotes, and what is left of clitics.
  rule("'", { before: '[a-zA-Z][^\\s]' }),
  rule(`${CLITIC}|${NOT}`, { write: plainQuotes }),
  rule(`''|[\`\\u2018-\\u201f\\u2039\\u203a\\xab\\xbb]{1,2}|${APOSTROPHE}`, { write: plainQuotes }),
  rule('<<|>>'),
  // Symbols, those above U+FFFF aside, are tokens of their own.
  rule('[%&\\\\\\p{S}\\xa7\\xb6\\xb7\\u2020-\\u2022\\u2030-\\u2038]'),
  rule('&nbsp;', { write: '' }),
];
