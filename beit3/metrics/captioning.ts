import { InputError } from '../../core/errors.js';
import { bleu } from './bleu.js';
import { ciderD } from './cider.js';
import { ptbTokenize } from './ptbTokenizer.js';
import { rougeL } from './rouge.js';

/** Scores of captions as COCO counts them: BLEU and ROUGE-L 0 to 1, CIDEr-D 0 to 10 (papers print 100 times all). */
export interface CaptionScores {
  /** BLEU-1 to BLEU-4. */
  readonly bleu: readonly number[];
  readonly rougeL: number;
  readonly ciderD: number;
  /** Share of captions that are one of their references, as tokenised. */
  readonly exactMatch: number;
  /** How many pictures were compared. */
  readonly images: number;
}

export interface CaptionMetricsOptions {
  /** Whether texts are tokenised first as COCO does (the default); false takes what stands between spaces for words. */
  readonly tokenize?: boolean;
}

/**
 * BLEU-1 to 4, ROUGE-L and CIDEr-D of one caption for each picture against its references, by the picture's id, as
 * pycocoevalcap computes them after PTB tokenisation (see ptbTokenize). METEOR and SPICE are left out: both need Java
 * programs with models of their own. Nor does nlg-eval tokenise: `{ tokenize: false }` gives its numbers.
 *
 * Throws InputError where predictions and references are not of the same pictures, or where one has no reference.
 */
export function captionMetrics<Id extends string | number>(
  predictions: ReadonlyMap<Id, string>,
  references: ReadonlyMap<Id, readonly string[]>,
  { tokenize = true }: CaptionMetricsOptions = {},
): CaptionScores {
  if (references.size === 0)
    throw new InputError('Expected references of at least one image to score captions, got none.');
  const candidates: string[] = [];
  const texts: (readonly string[])[] = [];
  for (const [id, own] of references) {
    const prediction = predictions.get(id);
    if (prediction === undefined) throw new InputError(`Expected a caption for each image, got none for image ${id}.`);
    if (own.length === 0)
      throw new InputError(`Expected at least one reference for each image, got none for image ${id}.`);
    candidates.push(prediction);
    texts.push(own);
  }
  for (const id of predictions.keys()) {
    if (!references.has(id))
      throw new InputError(`Expected references for each image with a caption, got none for image ${id}.`);
  }
  const ours = tokenize ? ptbTokenize(candidates) : candidates;
  const theirs = tokenize ? tokenizeGroups(texts) : texts;
  return {
    bleu: bleu(ours, theirs),
    rougeL: mean(ours.map((caption, i) => rougeL(caption, theirs[i]))),
    ciderD: mean(ciderD(ours, theirs)),
    exactMatch: mean(ours.map((caption, i) => (theirs[i].includes(caption) ? 1 : 0))),
    images: ours.length,
  };
}

function tokenizeGroups(groups: readonly (readonly string[])[]): string[][] {
  const tokenized = ptbTokenize(groups.flat());
  let from = 0;
  return groups.map((group) => {
    from += group.length;
    return tokenized.slice(from - group.length, from);
  });
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
