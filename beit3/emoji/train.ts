/** Trains a small BEiT-3 to bring emoji and their names together, and measures it on a style that it has never seen. */

import '../../autograd/index.js';
import type { Backend } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { InputError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { Generator } from '../../core/random.js';
import { tensor } from '../../core/tensor.js';
import { Builder } from '../../nn/builder.js';
import { AdamW } from '../../nn/optim.js';
import { type Beit3Config, type ModelSpec, parseConfig } from '../config.js';
import { createModel, type Retrieval } from '../heads/index.js';
import { layerDecayGroups } from '../layerDecay.js';
import type { Tokenizer } from '../tokenizer/index.js';
import type { Augmentation } from './augment.js';
import { type EmojiBatch, EmojiBatches } from './batches.js';
import type { EmojiCorpus } from './corpus.js';

export type RetrievalSpec = ModelSpec & { readonly task: 'retrieval' };

export interface EmojiModelSizes {
  readonly width: number;
  readonly layers: number;
  /** Side of the pictures and of a patch in pixels. */
  readonly size: number;
  readonly patch: number;
  /** Rows of the word table. */
  readonly vocabulary: number;
}

/** A BEiT-3 for small pictures and short texts. Throws InputError for sizes that do not fit together. */
export function emojiModelSpec({ width, layers, size, patch, vocabulary }: EmojiModelSizes): RetrievalSpec {
  if (width % HEAD_WIDTH !== 0) throw new InputError(`The width must be a multiple of ${HEAD_WIDTH}, got ${width}.`);
  if (size % patch !== 0)
    throw new InputError(`The side of the pictures, ${size}, must be a multiple of the patch, ${patch}.`);
  const json = {
    encoder_embed_dim: width,
    encoder_attention_heads: width / HEAD_WIDTH,
    encoder_ffn_embed_dim: 4 * width,
    encoder_layers: layers,
    img_size: size,
    patch_size: patch,
    vocab_size: vocabulary,
    max_source_positions: TEXT_POSITIONS,
  } satisfies Partial<Beit3Config>;
  return { task: 'retrieval', config: parseConfig(json, 'The size of the model'), numClasses: 0 };
}

const HEAD_WIDTH = 32;
const TEXT_POSITIONS = 64;

export interface EmojiTraining {
  readonly corpus: EmojiCorpus;
  readonly tokenizer: Tokenizer;
  readonly spec: RetrievalSpec;
  readonly backend: Backend;
  /** A model of the spec to go on from; a fresh one by default. It is trained in place. */
  readonly start?: Retrieval;
  /** The style that is never trained on; null trains on all. */
  readonly heldOut: string | null;
  /** When to end; the learning rate rises and falls over the whole of it. Only steps are repeatable. */
  readonly until: { readonly steps: number } | { readonly seconds: number };
  readonly seed: number;
  /** Pictures in a step. */
  readonly batch: number;
  /** The highest learning rate. */
  readonly lr: number;
  /** Of the pictures; null for none. */
  readonly augmentation?: Augmentation | null;
  /** Share of the texts that are plain labels. */
  readonly labels?: number;
  /** Ends training early when it fires; the model is kept. */
  readonly signal?: AbortSignal;
  readonly onStep?: (step: EmojiStep) => void;
}

export interface EmojiStep {
  /** Steps done, this one included. */
  readonly step: number;
  readonly loss: number;
  readonly lr: number;
  /** Seconds since the first step began. */
  readonly seconds: number;
  /** How much of the training is done, 0 to 1. */
  readonly progress: number;
}

export interface TrainedEmojiModel {
  readonly model: Retrieval;
  readonly losses: readonly number[];
  readonly seconds: number;
}

/** Part of the training in which the learning rate rises. */
const WARMUP = 0.05;
/** Where it ends, as part of the highest. */
const FINAL = 0.01;
const WEIGHT_DECAY = 0.05;
const MAX_NORM = 1;

/** Linear warm-up and a cosine fall over the progress 0 to 1. */
export function learningRate(highest: number, progress: number): number {
  if (progress < WARMUP) return (highest * (progress + 0.002)) / (WARMUP + 0.002);
  const fall = 0.5 * (1 + Math.cos((Math.PI * (progress - WARMUP)) / (1 - WARMUP)));
  return highest * (FINAL + (1 - FINAL) * fall);
}

/**
 * Trains a fresh model with the contrastive loss. The caller frees the model; all else is freed. Throws an Error when
 * the loss is no number any more.
 */
export async function trainEmojiModel(training: EmojiTraining): Promise<TrainedEmojiModel> {
  const { spec, backend, until, seed, signal, onStep } = training;
  setDefaultBackend(backend);
  const generator = new Generator(seed);
  const fresh = () => createModel(new Builder({ backend, generator }), spec, { initialisation: 'magneto' });
  const model = training.start?.train() ?? fresh();
  const batches = new EmojiBatches(training.corpus, training.tokenizer, {
    heldOut: training.heldOut,
    size: training.batch,
    generator,
    augmentation: training.augmentation,
    labels: training.labels,
  });
  const groups = layerDecayGroups(model, { layers: spec.config.encoder_layers, weightDecay: WEIGHT_DECAY });
  const optimiser = new AdamW(groups, { betas: [0.9, 0.98] });
  const losses: number[] = [];
  const begin = performance.now();
  const elapsed = () => (performance.now() - begin) / 1000;
  const progress = () => ('steps' in until ? losses.length / until.steps : elapsed() / until.seconds);
  try {
    while (progress() < 1 && !signal?.aborted) {
      const lr = learningRate(training.lr, progress());
      const loss = await step(model, optimiser, batches.next(), backend, lr);
      if (!Number.isFinite(loss)) {
        throw new Error(
          `Training went astray at step ${losses.length + 1}: the loss is ${loss}; take a lower learning rate.`,
        );
      }
      losses.push(loss);
      onStep?.({ step: losses.length, loss, lr, seconds: elapsed(), progress: Math.min(1, progress()) });
      // Signals and timers get their turn.
      await new Promise((resolve) => setTimeout(resolve));
    }
    return { model: model.eval() as Retrieval, losses, seconds: elapsed() };
  } catch (error) {
    model.dispose();
    throw error;
  } finally {
    optimiser.dispose();
  }
}

async function step(
  model: Retrieval,
  optimiser: AdamW,
  batch: EmojiBatch,
  backend: Backend,
  lr: number,
): Promise<number> {
  const loss = scope(() => {
    const { images, text, padding } = tensors(batch, backend);
    const { loss } = model.forward(images, text, padding);
    loss.backward();
    return loss.detach();
  });
  optimiser.step({ lr, maxNorm: MAX_NORM })?.dispose();
  optimiser.zeroGrad();
  const value = await loss.item();
  loss.dispose();
  return value;
}

function tensors({ size, images, ids, padding, length }: EmojiBatch, backend: Backend) {
  const side = Math.sqrt(images.length / (3 * size));
  return {
    images: tensor(images, { shape: [size, 3, side, side], backend }),
    text: tensor(ids, { shape: [size, length], backend }),
    padding: tensor(padding, { shape: [size, length], dtype: 'bool', backend }),
  };
}
