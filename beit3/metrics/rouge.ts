/** Recall counts more than precision by this factor squared. */
const BETA = 1.2;

/**
 * ROUGE-L of one caption, 0 to 1: the F measure of its best precision and best recall over the references, both from the
 * longest common subsequence of words. All texts are tokenised and joined by single spaces; as in the original, a text
 * without words counts as one empty word.
 *
 * Lin 2004; as pycocoevalcap's `rouge.py` has it, with beta 1.2.
 */
export function rougeL(candidate: string, references: readonly string[]): number {
  const sentence = candidate.split(' ');
  let precision = 0;
  let recall = 0;
  for (const reference of references) {
    const other = reference.split(' ');
    const common = commonSubsequence(sentence, other);
    precision = Math.max(precision, common / sentence.length);
    recall = Math.max(recall, common / other.length);
  }
  if (precision === 0 || recall === 0) return 0;
  return ((1 + BETA ** 2) * precision * recall) / (recall + BETA ** 2 * precision);
}

/** Length of the longest common subsequence. */
function commonSubsequence(a: readonly string[], b: readonly string[]): number {
  let before = new Uint32Array(b.length + 1);
  for (const word of a) {
    const row = new Uint32Array(b.length + 1);
    for (let j = 0; j < b.length; j++) row[j + 1] = word === b[j] ? before[j] + 1 : Math.max(before[j + 1], row[j]);
    before = row;
  }
  return before[b.length];
}
