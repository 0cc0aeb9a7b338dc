import { words } from './words.js';

/** Contractions with their apostrophes; answers that lack one of them get it back. */
const CONTRACTIONS = `ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll
somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've
there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's
what've when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've`.split(/\s+/);

const NUMBERS = 'zero one two three four five six seven eight nine ten'.split(' ');

/** Words that are replaced by others. */
const WORDS = new Map<string, string>([
  // The other way round in the original's table.
  ["somebody'd", 'somebodyd'],
  ...CONTRACTIONS.flatMap((word) =>
    [...word.matchAll(/'/g)].map(({ index }): [string, string] => [word.slice(0, index) + word.slice(index + 1), word]),
  ),
  ...NUMBERS.map((word, i): [string, string] => [word, String(i)]),
  ['none', '0'],
]);

const ARTICLES = new Set(['a', 'an', 'the']);

const PUNCTUATION = [...';/[]"{}()=+\\_-><@`,?!'];

/** The original passes a flag where re.sub takes the largest number of replacements. */
const MOST_PERIODS = 32;

/**
 * A VQA answer in the form in which answers are compared and counted, as BEiT-3's data preparation has it (after the
 * evaluation code of VQA v2): no punctuation but apostrophes and decimal points, no articles, number words as digits,
 * contractions with their apostrophes, lower case, single spaces.
 */
export function normalizeAnswer(text: string): string {
  const hasThousands = /\p{Nd},\p{Nd}/u.test(text);
  let rest = text;
  for (const mark of PUNCTUATION) {
    const isAtEdge = text.includes(`${mark} `) || text.includes(` ${mark}`);
    rest = rest.replaceAll(mark, isAtEdge || hasThousands ? '' : ' ');
  }
  let removed = 0;
  rest = rest.replace(/\.(?!\p{Nd})/gu, (period) => (removed++ < MOST_PERIODS ? '' : period));
  return words(rest.toLowerCase())
    .filter((word) => !ARTICLES.has(word))
    .map((word) => WORDS.get(word) ?? word)
    .join(' ');
}
