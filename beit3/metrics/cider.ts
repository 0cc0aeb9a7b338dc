import { countNgrams, words } from './words.js';

const LONGEST = 4;
/** Width of the penalty for another length, in words. */
const SIGMA = 6;

/** A sentence as weighted n-grams, by their length. */
interface Weighted {
  readonly weights: readonly Map<string, number>[];
  readonly norms: readonly number[];
  readonly words: number;
}

/**
 * CIDEr-D of each caption, 0 to 10, and 10 for one that equals its only reference: the mean over references and over 1 to
 * 4 words of the similarity of n-grams, weighted by how rare they are in the references of all pictures. Of one picture
 * alone nothing is rare, and the score is 0. `candidates[i]` is compared with `references[i]`, all tokenised and joined
 * by spaces.
 *
 * Vedantam et al. 2015, section 6 (CIDEr-D: counts clipped to the reference's, a Gaussian penalty of the length), which
 * pycocoevalcap's `cider_scorer.py` and nlg-eval call `CIDEr`; no stemming, document frequencies of the corpus. As there,
 * lengths are counted in pairs of words: none and one word are alike.
 */
export function ciderD(candidates: readonly string[], references: readonly (readonly string[])[]): number[] {
  const counted = references.map((texts) => texts.map((text) => countNgrams(words(text), LONGEST)));
  /** In the references of how many pictures an n-gram occurs. */
  const pictures = new Map<string, number>();
  for (const texts of counted) {
    const seen = new Set(texts.flatMap((lengths) => lengths.flatMap((counts) => [...counts.keys()])));
    for (const ngram of seen) pictures.set(ngram, (pictures.get(ngram) ?? 0) + 1);
  }
  const all = Math.log(references.length);
  const weigh = (counts: readonly Map<string, number>[]): Weighted => {
    const weights = counts.map(
      (ofLength) =>
        new Map([...ofLength].map(([ngram, count]) => [ngram, count * (all - Math.log(pictures.get(ngram) ?? 1))])),
    );
    const norms = weights.map((ofLength) => Math.sqrt([...ofLength.values()].reduce((sum, w) => sum + w * w, 0)));
    return { weights, norms, words: [...counts[1].values()].reduce((a, b) => a + b, 0) };
  };
  return candidates.map((candidate, i) => {
    const hypothesis = weigh(countNgrams(words(candidate), LONGEST));
    const total = counted[i].reduce((sum, reference) => sum + similarity(hypothesis, weigh(reference)), 0);
    return (10 * total) / counted[i].length;
  });
}

/** Mean over lengths of the cosine of two sentences, clipped and less where their lengths differ. */
function similarity(hypothesis: Weighted, reference: Weighted): number {
  let total = 0;
  for (let n = 0; n < LONGEST; n++) {
    let dot = 0;
    for (const [ngram, weight] of hypothesis.weights[n]) {
      const other = reference.weights[n].get(ngram) ?? 0;
      dot += Math.min(weight, other) * other;
    }
    const norms = hypothesis.norms[n] * reference.norms[n];
    if (norms !== 0) total += dot / norms;
  }
  const difference = hypothesis.words - reference.words;
  return (total / LONGEST) * Math.exp(-(difference ** 2) / (2 * SIGMA ** 2));
}
