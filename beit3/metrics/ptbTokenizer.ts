import { InputError } from '../../core/errors.js';
import { RULES } from './ptbRules.js';

/** Removed after tokenising. The original's list has `-LRB-` and other brackets too, but by then they are `-lrb-` and stay. */
const PUNCTUATION = new Set("'' ' `` ` . ? ! , : - -- ... ;".split(' '));

/** The time of a sentence without spaces grows with the square of its length. */
const LONGEST_CAPTION = 10_000;

const LINE_ENDS = /[\n\r\v\f\x85\u2028\u2029]/g;

/** Characters above U+FFFF have no rule in the original: they end a word and are left out. */
const ASTRAL = /[\ud800-\udfff]+/g;

/** Most words: nothing but letters up to a space, which only the words of `SPLIT` do not pass through. */
const PLAIN_WORD = /[a-z]+(?=[ \n])/iy;
const SPLIT = new Set(['cannot', 'gonna', 'gotta', 'lemme', 'gimme', 'wanna']);

/**
 * Captions as the COCO caption evaluation compares them: the tokens of each, in lower case, joined by single spaces.
 *
 * This is what `pycocoevalcap/tokenizer/ptbtokenizer.py` gets from Stanford CoreNLP 3.4.1 (`PTBTokenizer -preserveLines
 * -lowerCase`) after removing its list of punctuation, written anew for English captions. Covered: words with clitics
 * (`dog 's`, `is n't`, `can not`, `gon na`) and those that keep their apostrophe (`o'clock`, `'n'`), hyphenated and
 * slashed words, numbers, times, dates, fractions, sums of money, common abbreviations and initials with their period,
 * picture and text files, web and e-mail addresses, hash tags, simple tags, the commonest entities, Western smileys,
 * quotes, brackets (`-lrb-`), dashes, ellipses and symbols. Characters without a rule are left out, emoji above U+FFFF
 * among them; so are soft hyphens. Not covered: telephone numbers with spaces, tags with attributes, other smileys and
 * file types, abbreviations of business and law, and terms made up for the Wall Street Journal (`S&P-500`).
 *
 * As there, the captions are read as the lines of one file: whether `x.` at the end of one keeps its period depends on
 * the word with which the next begins. Throws InputError for a caption of more than 10,000 characters.
 */
export function ptbTokenize(captions: readonly string[]): string[] {
  for (const caption of captions) {
    if (caption.length > LONGEST_CAPTION) {
      throw new InputError(
        `Expected captions of at most ${LONGEST_CAPTION} characters, got one of ${caption.length} that begins with ${JSON.stringify(caption.slice(0, 40))}.`,
      );
    }
  }
  const text = captions
    .map((caption) => caption.replaceAll('\xad', '').replace(LINE_ENDS, ' ').replace(ASTRAL, '\0'))
    .join('\n');
  const lines: string[] = [];
  let line: string[] = [];
  let at = 0;
  while (at < text.length) {
    if (text[at] === '\n') {
      lines.push(line.join(' '));
      line = [];
      at++;
      continue;
    }
    PLAIN_WORD.lastIndex = at;
    const plain = PLAIN_WORD.exec(text)?.[0].toLowerCase();
    if (plain !== undefined && !SPLIT.has(plain)) {
      line.push(plain);
      at += plain.length;
      continue;
    }
    const { token, length } = longestToken(text, at);
    at += length;
    const word = token.toLowerCase();
    if (word !== '' && !PUNCTUATION.has(word)) line.push(word);
  }
  lines.push(line.join(' '));
  return captions.length === 0 ? [] : lines;
}

/** The token that begins at a place, '' if none is to be written, and how far to go on. */
function longestToken(text: string, at: number): { token: string; length: number } {
  let longest = 0;
  let found = { token: '', length: 1 };
  for (const { pattern, write, length } of RULES) {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (!match || match[0].length <= longest) continue;
    longest = match[0].length;
    const token = match[1].slice(0, length?.(match[1]));
    found = { token: write ? write(token) : token, length: token.length };
  }
  return found;
}
