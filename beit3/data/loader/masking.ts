import type { Generator } from '../../../core/random.js';
import type { Vocabulary } from '../dataSet.js';

/** Ids below are special: they are never put in the place of a word. */
const FIRST_WORD = 3;

/** What becomes of the tokens that are to be predicted: shares of 1. */
export interface MaskRule {
  /** `<mask>` takes their place. */
  readonly masked: number;
  /** They stay. What is left over of 1 becomes a random word. */
  readonly kept: number;
}

/** That of BERT (Devlin et al. 2019) and of the reference. */
export const BERT_RULE: MaskRule = { masked: 0.8, kept: 0.1 };

/**
 * Chooses the words of a text that are to be predicted, and puts `<mask>` in the place of 80% of them and a random
 * word in that of 10%, or as `rule` says: `_masking_on_text_tokens` of the reference. `ids` is `<s>` words `</s>` and is
 * written over; `</s>` may be chosen, `<s>` never. Gives the places, ascending: round(length * probability), at least one.
 */
export function maskWords(
  ids: Int32Array,
  probability: number,
  vocabulary: Vocabulary,
  random: Generator,
  { masked, kept }: MaskRule = BERT_RULE,
): Int32Array {
  const count = Math.max(1, Math.min(Math.floor(ids.length * probability + 0.5), ids.length - 1));
  const places = random
    .permutation(ids.length - 1)
    .slice(0, count)
    .map((i) => i + 1)
    .sort();
  const draws = random.uniform(count);
  const words = random.integers(count, FIRST_WORD, vocabulary.size);
  places.forEach((place, i) => {
    if (draws[i] < masked) ids[place] = vocabulary.maskId;
    else if (draws[i] >= masked + kept) ids[place] = words[i];
  });
  return places;
}
