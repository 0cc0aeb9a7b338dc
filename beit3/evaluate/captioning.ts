import { InputError } from '../../core/errors.js';
import { keep } from '../../core/memory.js';
import { generate } from '../generate.js';
import type { Captioning } from '../heads/index.js';
import { captionMetrics } from '../metrics/index.js';
import { captionOf } from '../pipeline/texts.js';
import { backendOf, imagesOf } from '../tasks/inputs.js';
import { type EvaluateOptions, type Evaluator, expectSamples } from './report.js';
import { firstOfEach, picturesAt } from './rows.js';

/** The reference evaluates with its default number of tokens, whatever it was trained with. */
const MAX_LENGTH = 64;

const LEFT_OUT = 'METEOR and SPICE are left out: both need Java programs with models of their own.';

/** Writes a caption for each picture once and compares it with the references. */
export const evaluateCaptioning: Evaluator<'captioning'> = async (model, batches, options) => {
  const { tokenizer, references } = options;
  if (!tokenizer) throw new InputError('Captions are written in words; give the tokenizer of the model.');
  const backend = backendOf(model);
  const captions = new Map<number, string>();
  for await (const batch of batches) {
    const rows = firstOfEach(batch.imageIds, captions);
    if (rows.length === 0) continue;
    const image = keep(imagesOf(picturesAt(batch, rows), backend));
    try {
      const written = await generate(model, image, { ...searchOf(model, options), maskId: tokenizer.maskId });
      for (const [i, row] of rows.entries())
        captions.set(batch.imageIds[row], captionOf(tokenizer, written[i].ids).text);
    } finally {
      image.dispose();
    }
  }
  expectSamples(captions.size, 'pictures');
  const report = { samples: captions.size, predictions: [...captions] };
  if (!references) return { ...report, metrics: {}, key: null, notes: [] };
  return { ...report, ...compared(captions, references) };
};

function searchOf(model: Captioning, { numBeams, lengthPenalty, maxLength }: EvaluateOptions) {
  const rows = model.beit3.encoder.embed_positions.B?.weight.shape[0] ?? MAX_LENGTH;
  // Positions count from 2.
  return { numBeams, lengthPenalty, maxLength: maxLength ?? Math.min(MAX_LENGTH, rows - 2) };
}

function compared(captions: ReadonlyMap<number, string>, references: ReadonlyMap<number, readonly string[]>) {
  const wanted = new Map(Array.from(captions.keys(), (id) => [id, references.get(id) ?? []]));
  const { bleu, rougeL, ciderD, exactMatch } = captionMetrics(captions, wanted);
  const metrics = Object.fromEntries([
    ...bleu.map((value, n) => [`Bleu_${n + 1}`, 100 * value]),
    ['ROUGE_L', 100 * rougeL],
    ['CIDEr', 100 * ciderD],
    ['exact_match', 100 * exactMatch],
  ]) as Record<string, number>;
  return { metrics, key: 'CIDEr', notes: [LEFT_OUT] };
}
