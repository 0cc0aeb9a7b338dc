import { countNgrams, words } from './words.js';

const LONGEST = 4;
/** As in the original, so that nothing divides by zero. */
const TINY = 1e-15;
const SMALL = 1e-9;

/**
 * BLEU-1 to BLEU-4 of a whole corpus, 0 to 1, of which the n-th is the geometric mean of the clipped precisions of 1 to n
 * words times the brevity penalty; the length to reach is that of the closest reference (of two, the shorter).
 * `candidates[i]` is compared with `references[i]`, all tokenised and joined by spaces.
 *
 * Papineni et al. 2002; the constants are those of pycocoevalcap's `bleu_scorer.py`, option 'closest'.
 */
export function bleu(candidates: readonly string[], references: readonly (readonly string[])[]): number[] {
  const right = new Array<number>(LONGEST).fill(0);
  const guessed = new Array<number>(LONGEST).fill(0);
  let length = 0;
  let wanted = 0;
  candidates.forEach((candidate, i) => {
    const sentence = words(candidate);
    const others = references[i].map(words);
    length += sentence.length;
    wanted += closestLength(sentence.length, others);
    const allowed = others.map((other) => countNgrams(other, LONGEST));
    countNgrams(sentence, LONGEST).forEach((counts, n) => {
      guessed[n] += Math.max(0, sentence.length - n);
      for (const [ngram, count] of counts) {
        right[n] += Math.min(count, Math.max(...allowed.map((other) => other[n].get(ngram) ?? 0)));
      }
    });
  });
  const ratio = (length + TINY) / (wanted + SMALL);
  const penalty = ratio < 1 ? Math.exp(1 - 1 / ratio) : 1;
  let product = 1;
  return right.map((count, n) => {
    product *= (count + TINY) / (guessed[n] + SMALL);
    return product ** (1 / (n + 1)) * penalty;
  });
}

function closestLength(length: number, others: readonly (readonly string[])[]): number {
  const lengths = others.map((other) => other.length).sort((a, b) => a - b);
  return lengths.reduce((best, l) => (Math.abs(l - length) < Math.abs(best - length) ? l : best));
}
