import { InputError } from '../../core/errors.js';

/** In per cent. */
export interface Nlvr2Scores {
  /** Share of the pairs of pictures judged rightly. */
  readonly accuracy: number;
  /** Share of the sentences judged rightly of all their pairs. */
  readonly consistency: number;
  readonly examples: number;
  readonly sentences: number;
}

/**
 * Accuracy and consistency of NLVR2, as the corpus' `nlvr2/eval/metrics.py` counts them. Both maps go from an example's
 * identifier, `split-set-pair-sentence` such as `dev-850-0-1`, to whether the sentence is true of the pair; examples that
 * differ in nothing but the pair share their sentence. Predictions of other examples are not looked at, so that a part of
 * a split (the balanced one) can be scored. Throws InputError for a missing prediction or an identifier of another form.
 */
export function nlvr2Scores(
  predictions: ReadonlyMap<string, boolean>,
  labels: ReadonlyMap<string, boolean>,
): Nlvr2Scores {
  if (labels.size === 0) throw new InputError('Expected labels of at least one NLVR2 example, got none.');
  let right = 0;
  const consistent = new Map<string, boolean>();
  for (const [identifier, label] of labels) {
    const prediction = predictions.get(identifier);
    if (prediction === undefined) {
      throw new InputError(`Expected a prediction for each NLVR2 example, got none for ${identifier}.`);
    }
    const isRight = prediction === label;
    if (isRight) right++;
    const sentence = sentenceOf(identifier);
    consistent.set(sentence, isRight && consistent.get(sentence) !== false);
  }
  const wholly = [...consistent.values()].filter((all) => all).length;
  return {
    accuracy: (100 * right) / labels.size,
    consistency: (100 * wholly) / consistent.size,
    examples: labels.size,
    sentences: consistent.size,
  };
}

function sentenceOf(identifier: string): string {
  const [split, set, pair, sentence, ...more] = identifier.split('-');
  if (!split || !set || !pair || !sentence || more.length > 0) {
    throw new InputError(
      `Expected NLVR2 identifiers of the form split-set-pair-sentence, such as dev-850-0-1, got ${JSON.stringify(identifier)}.`,
    );
  }
  return `${split}-${set}-${sentence}`;
}
