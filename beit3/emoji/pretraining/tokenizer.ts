/** The visual tokenizer of the study: VQ-KD on emoji, taught by the shipped model. */
import '../../../autograd/index.js';
import { keep, scope } from '../../../core/memory.js';
import { Generator } from '../../../core/random.js';
import { tensor } from '../../../core/tensor.js';
import { Builder } from '../../../nn/builder.js';
import type { Retrieval } from '../../heads/index.js';
import { parseVqKdConfig, type VqKdConfig } from '../../vqkd/config.js';
import { VqKd } from '../../vqkd/vqkd.js';
import { plainPicture } from '../augment.js';
import type { EmojiCorpus, EmojiEntry } from '../corpus.js';
import type { StudyBatches } from './batches.js';
import { type Budget, read, type Trained, trainFor } from './budget.js';
import { RECIPE } from './recipe.js';
import { teacherFeatures } from './teacher.js';

export function tokenizerConfig(teacherWidth: number): VqKdConfig {
  const { tokenizer, size, patch } = RECIPE;
  return parseVqKdConfig(
    {
      img_size: size,
      patch_size: patch,
      embed_dim: tokenizer.width,
      num_heads: tokenizer.width / 32,
      encoder_depth: tokenizer.depth,
      decoder_depth: 1,
      n_code: tokenizer.codes,
      code_dim: tokenizer.codeWidth,
      decoder_out_dim: teacherWidth,
    },
    'The recipe',
  );
}

/** Steps between two restarts of dead codes, and the share of the training in which there are any. */
const RESTART_EVERY = 20;
const RESTART_UNTIL = 0.8;

/** Trains a tokenizer. The caller frees it. */
export async function trainTokenizer(
  teacher: Retrieval,
  batches: StudyBatches,
  {
    seed,
    budget,
    onStep,
    signal,
  }: { seed: number; budget: Budget } & Pick<Parameters<typeof trainFor>[0], 'onStep' | 'signal'>,
): Promise<{ readonly model: VqKd; readonly trained: Trained }> {
  const { backend } = teacher.logit_scale;
  const generator = new Generator(seed);
  const config = tokenizerConfig(teacher.vision_head.weight.shape[1]);
  const model = new VqKd(new Builder({ backend, generator }), config);
  const { batch: size, lr, least } = RECIPE.tokenizer;
  let progress = 0;
  const step = async (index: number): Promise<number> => {
    const { images, side } = batches.pictures(index, size);
    const made = scope(() => {
      const pixels = tensor(images, { shape: [size, 3, side, side], backend });
      const target = teacherFeatures(teacher, images, size);
      if (index === 0) scope(() => model.quantize.begin(model.project(pixels), generator));
      else if (index % RESTART_EVERY === 0 && progress < RESTART_UNTIL)
        scope(() => model.quantize.restartDead(model.project(pixels), least, generator));
      const { loss } = model.forward(pixels, target);
      loss.backward();
      return keep(loss.detach());
    });
    return read(made);
  };
  const trained = await trainFor({
    model,
    layers: config.encoder.depth,
    budget,
    lr,
    step,
    signal,
    onStep: (done) => {
      progress = done.progress;
      onStep?.(done);
    },
  });
  return { model, trained };
}

/** How often each code stands for a patch of the entries' pictures. */
export async function codeCounts(model: VqKd, corpus: EmojiCorpus, entries: readonly EmojiEntry[]): Promise<number[]> {
  const counts = new Array<number>(model.codes).fill(0);
  const S = corpus.size;
  const size = RECIPE.tokenizer.batch;
  const { backend } = model.encoder.cls_token;
  for (let from = 0; from < entries.length; from += size) {
    const part = entries.slice(from, from + size);
    const images = new Float32Array(part.length * 3 * S * S);
    part.forEach(({ image }, b) => {
      plainPicture(corpus.image(image), S, images, b * 3 * S * S);
    });
    const ids = scope(() => model.encode(tensor(images, { shape: [part.length, 3, S, S], backend })));
    for (const id of (await ids.data()) as Int32Array) counts[id]++;
    ids.dispose();
  }
  return counts;
}
