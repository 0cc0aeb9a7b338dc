/** What Python's str.split() and str.strip() take for space. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the separators U+001C to U+001F are spaces there
const SPACE = /[\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]/;

/** The words of a text, as Python's str.split() finds them. */
export function words(text: string): string[] {
  return text.split(SPACE).filter((word) => word !== '');
}

/** A text without the spaces at its ends, as Python's str.strip() leaves it. */
export function strip(text: string): string {
  let from = 0;
  let to = text.length;
  while (from < to && SPACE.test(text[from])) from++;
  while (to > from && SPACE.test(text[to - 1])) to--;
  return text.slice(from, to);
}

/** How often each n-gram of 1 to `longest` words occurs, by length: [length - 1], n-gram -> count. */
export function countNgrams(sentence: readonly string[], longest: number): Map<string, number>[] {
  return Array.from({ length: longest }, (_, n) => {
    const counts = new Map<string, number>();
    for (let i = 0; i + n < sentence.length; i++) {
      const ngram = sentence.slice(i, i + n + 1).join(' ');
      counts.set(ngram, (counts.get(ngram) ?? 0) + 1);
    }
    return counts;
  });
}
