/** The two ways to a fine-tuned model: by way of pretraining, and from scratch. */
import '../../../autograd/index.js';
import type { Backend } from '../../../core/backend.js';
import { keep, scope } from '../../../core/memory.js';
import { Generator } from '../../../core/random.js';
import { tensor } from '../../../core/tensor.js';
import { Builder } from '../../../nn/builder.js';
import type { Module } from '../../../nn/module.js';
import { LOSSES, type LossName, maskedLosses } from '../../pretrain/losses.js';
import { Pretraining } from '../../pretrain/model.js';
import { type MaskedNumbers, readLosses } from '../../pretrain/task.js';
import { trainingLoss } from '../../tasks/index.js';
import type { VqKd } from '../../vqkd/vqkd.js';
import type { JointEmoji } from '../zoo/data.js';
import { JointModel, type JointSpec } from '../zoo/model.js';
import type { StudyBatches } from './batches.js';
import { type Budget, read, type Trained, trainFor } from './budget.js';
import { RECIPE } from './recipe.js';

type Watch = Pick<Parameters<typeof trainFor>[0], 'onStep' | 'signal'>;

/** Pretrains a fresh backbone on masked pictures, texts and pairs. The caller frees it. */
export async function pretrain(
  spec: JointSpec,
  tokenizer: VqKd,
  batches: StudyBatches,
  { seed, budget, ...watch }: { seed: number; budget: Budget } & Watch,
): Promise<{ readonly model: Pretraining; readonly trained: Trained }> {
  const { backend } = tokenizer.encoder.cls_token;
  const options = { codes: tokenizer.codes, initialisation: 'magneto' } as const;
  const model = new Pretraining(new Builder({ backend, generator: new Generator(seed) }), spec.config, options);
  const step = async (index: number): Promise<number> => {
    const numbers = await readLosses(maskedLosses(model, tokenizer, batches.pretraining(index)));
    return LOSSES.reduce((sum, name) => sum + (numbers[name] ?? 0), 0);
  };
  const { lr } = RECIPE.pretraining;
  const trained = await trainFor({ model, layers: spec.config.encoder_layers, budget, lr, step, ...watch });
  return { model, trained };
}

/** Share of right predictions, and of the commonest answer, for each kind. */
export type MaskedAccuracy = Record<LossName, { readonly accuracy: number; readonly chance: number }>;

const MEASURED_BATCHES = 24;

/** What is predicted of emoji; chance is the share of what is hidden most often. */
export async function maskedAccuracy(
  model: Pretraining,
  tokenizer: VqKd,
  batches: StudyBatches,
  emoji: readonly JointEmoji[],
): Promise<MaskedAccuracy> {
  const sums: MaskedNumbers = {};
  const answers: Record<LossName, Map<number, number>> = {
    image: new Map(),
    text: new Map(),
    pairImage: new Map(),
    pairText: new Map(),
  };
  const note = (name: LossName, ids: ArrayLike<number>): void => {
    for (let i = 0; i < ids.length; i++) answers[name].set(ids[i], (answers[name].get(ids[i]) ?? 0) + 1);
  };
  for (let i = 0; i < MEASURED_BATCHES; i++) {
    const batch = batches.measured(emoji, i);
    const found = await readLosses(maskedLosses(model, tokenizer, batch, { backwards: false }));
    for (const name of LOSSES) sums[`${name}Acc`] = (sums[`${name}Acc`] ?? 0) + (found[`${name}Acc`] ?? 0);
    const { images, texts, pairs } = batch;
    if (texts) note('text', texts.targets);
    if (pairs) note('pairText', pairs.texts.targets);
    if (!images) continue;
    const { backend } = tokenizer.encoder.cls_token;
    const shape = [images.size, 3, images.side, images.side];
    const ids = scope(() => keep(tokenizer.encode(tensor(images.images, { shape, backend }))));
    const codes = (await ids.data()) as Int32Array;
    ids.dispose();
    for (const name of ['image', 'pairImage'] as const)
      note(
        name,
        Array.from(images.predictPatches, (at) => codes[at]),
      );
  }
  return Object.fromEntries(
    LOSSES.map((name) => {
      const counts = [...answers[name].values()];
      const chance = Math.max(...counts) / counts.reduce((a, b) => a + b, 0);
      return [name, { accuracy: (100 * (sums[`${name}Acc`] ?? 0)) / MEASURED_BATCHES, chance: 100 * chance }];
    }),
  ) as MaskedAccuracy;
}

/** Both by pictures and texts, as the paper fine-tunes them: classification has the names of classes for texts. */
export const STUDY_TASKS = ['retrieval', 'classification'] as const;
export type StudyTask = (typeof STUDY_TASKS)[number];

/** What a model begins with: a backbone, and the retrieval heads if they are trained too; fresh where there is none. */
export interface Start {
  readonly beit3: Module;
  readonly retrieval?: Module;
}

export interface Finetuning extends Watch {
  readonly seed: number;
  readonly budget: Budget;
  readonly lr: number;
  readonly start: Start | null;
  readonly backend: Backend;
}

/**
 * Fine-tunes a model for a task on the labelled pictures; `tuning` is that of retrieval on all pairs of pretraining.
 * The caller frees it.
 */
export async function finetune(
  task: StudyTask | 'tuning',
  spec: JointSpec,
  batches: StudyBatches,
  { seed, budget, lr, start, backend, ...watch }: Finetuning,
): Promise<{ readonly model: JointModel; readonly trained: Trained }> {
  const model = new JointModel(new Builder({ backend, generator: new Generator(seed + 1000) }), spec);
  const own = model.of('retrieval');
  if (start) own.beit3.loadStateDict(start.beit3.stateDict());
  if (start?.retrieval) own.loadStateDict(start.retrieval.stateDict());
  const step = (index: number): Promise<number> => {
    const made = scope(() => {
      const batch = task === 'classification' ? batches.classification(index) : batches.retrieval(index, task);
      const { loss } = trainingLoss('retrieval', own, batch);
      loss.backward();
      return keep(loss.detach());
    });
    return read(made);
  };
  const trained = await trainFor({ model: own, layers: spec.config.encoder_layers, budget, lr, step, ...watch });
  return { model, trained };
}
