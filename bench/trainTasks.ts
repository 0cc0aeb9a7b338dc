/** What bench/train.ts can train: models of base size with fixed batches, and the scripts of their peers. */
import { backward } from '../autograd/backward.js';
import { modelSpec, patchCount, SIZES } from '../beit3/config.js';
import { BERT_RULE, maskWords } from '../beit3/data/loader/masking.js';
import { createModel } from '../beit3/heads/index.js';
import { layerDecayGroups } from '../beit3/layerDecay.js';
import type { MaskedImages, MaskedTexts, PretrainBatch } from '../beit3/pretrain/batch.js';
import { EQUAL_WEIGHTS, kindsOf, lossesOf, weightedSum } from '../beit3/pretrain/losses.js';
import { blockMask } from '../beit3/pretrain/masks.js';
import { Pretraining } from '../beit3/pretrain/model.js';
import type { ImageTokenizer } from '../beit3/vqkd/imageTokenizer.js';
import type { Backend } from '../core/backend.js';
import { scope } from '../core/memory.js';
import { add, affine, randn } from '../core/ops/index.js';
import { Generator } from '../core/random.js';
import { type Tensor, tensor } from '../core/tensor.js';
import { fresh } from '../core/watch.js';
import { autocast } from '../nn/amp.js';
import { Builder } from '../nn/builder.js';
import { crossEntropy } from '../nn/losses.js';
import type { Module } from '../nn/module.js';
import { AdamW } from '../nn/optim.js';

export const TRAINED = ['classification', 'pretrain'] as const;

export interface TrainedTask {
  readonly model: Module;
  readonly optimiser: AdamW;
  /** What a step has, in words, and how many samples that is. */
  readonly title: string;
  readonly samples: number;
  /** Most norm of all gradients. */
  readonly maxNorm: number;
  /** The peer, in bench/peers, and what it is told besides the flags of all. */
  readonly script: string;
  readonly peerFlags: Readonly<Record<string, number>>;
  /** Adds the gradients of a step, told of each part that has passed; gives the loss. */
  gradients(passed?: (part: 'forward' | 'backward') => void): Tensor;
}

export interface TrainedTaskOptions {
  readonly backend: Backend;
  readonly batch: number;
  readonly size: number;
  readonly layers: number;
  /** Tokens of a text alone, and words of the vocabulary. */
  readonly length: number;
  readonly words: number;
  /** Mixed precision. */
  readonly half: boolean;
  /** What losses are multiplied with there. */
  readonly lossScale: number;
}

/** Forward in the precision that is asked for, and backward of the scaled loss. */
function differentiated({ backend, half, lossScale }: TrainedTaskOptions) {
  return (forward: () => Tensor, passed: (part: 'forward' | 'backward') => void): Tensor => {
    const loss = half ? autocast(backend, forward) : forward();
    passed('forward');
    backward(half ? affine(loss, lossScale, 0) : loss);
    passed('backward');
    return loss.detach();
  };
}

export function classification(options: TrainedTaskOptions): TrainedTask {
  const { batch, size, layers, half } = options;
  const official = modelSpec('beit3_base_patch16_224_imageclassification');
  const config = { ...official.config, img_size: size, encoder_layers: layers };
  const spec = { ...official, task: 'imageclassification' as const, config };
  const model = createModel(new Builder(), spec, { initialisation: 'magneto' }).train();
  const image = randn([batch, 3, size, size]);
  const label = tensor(Int32Array.from({ length: batch }, (_, i) => (i * 37) % 1000));
  const step = differentiated(options);
  return {
    model,
    optimiser: new AdamW(layerDecayGroups(model, { layers }), { lr: 1e-4, halfCopies: half }),
    ...{ title: `${batch} x ${size} px`, samples: batch, maxNorm: 1 },
    ...{ script: 'beit3_train_torch.py', peerFlags: {} },
    gradients: (passed = () => {}) => step(() => crossEntropy(model.forward(image), label), passed),
  };
}

const CODES = 8192;
const PAIR_LENGTH = 64;

/**
 * Masked data modelling with the masks of the paper: 40% of the patches in blocks, 15% of the tokens of texts, 50% of those
 * of pairs. The codes of patches are random numbers: the visual tokenizer, which is not trained, is left out on both sides.
 */
export function pretraining(options: TrainedTaskOptions): TrainedTask {
  const { batch, size, layers, length, words, half, backend } = options;
  const config = { ...SIZES.base, img_size: size, encoder_layers: layers, vocab_size: words };
  const model = madeUp(new Pretraining(new Builder({ initialize: false }), config, { codes: CODES }));
  model.train();
  const grid = Math.sqrt(patchCount(config));
  const random = new Generator(1);
  const given: PretrainBatch = {
    images: maskedImages(batch, size, grid, random),
    texts: maskedTexts(batch, length, words, 0.15, 0, random),
    pairs: {
      images: maskedImages(batch, size, grid, random),
      texts: maskedTexts(batch, PAIR_LENGTH, words, 0.5, 16, random),
    },
  };
  const codes = random.integers(batch * grid * grid, 0, CODES);
  const tokenizer: ImageTokenizer = {
    ...{ codes: CODES, imageSize: size, grid },
    encode: () => fresh(() => tensor(codes, { shape: [batch, grid * grid], backend })),
  };
  const step = differentiated(options);
  return {
    model,
    optimiser: new AdamW(layerDecayGroups(model, { layers }), {
      ...{ lr: 1e-4, betas: [0.9, 0.98], eps: 1e-6, weightDecay: 0.05 },
      halfCopies: half,
    }),
    title: `${batch} pictures of ${size} px, ${batch} texts of ${length} tokens and ${batch} pairs with ${PAIR_LENGTH}`,
    ...{ samples: 3 * batch, maxNorm: 3 },
    ...{ script: 'beit3_pretrain_torch.py', peerFlags: { length, words } },
    gradients: (passed = () => {}) =>
      kindsOf(given)
        .map((kind) => scope(() => step(() => weightedSum(lossesOf(model, tokenizer, kind), EQUAL_WEIGHTS), passed)))
        .reduce(add),
  };
}

/** Fills weights with the same million of random numbers over and over: to draw 276 million takes a minute. */
function madeUp<M extends Module>(model: M): M {
  const noise = new Generator(1).normal(2 ** 20).map((x) => 0.02 * x);
  for (const [name, p] of model.namedParameters()) {
    const isScale = /(norm|_ln)\.(.*\.)?weight$/.test(name);
    const values = p.rank > 1 ? noise : new Float32Array(p.size).fill(isScale ? 1 : 0);
    for (let at = 0; at < p.size; at += values.length) {
      const part = values.subarray(0, Math.min(values.length, p.size - at));
      p.backend.write(p.storage.block, 4 * at, new Uint8Array(part.buffer, 0, 4 * part.length));
    }
  }
  return model;
}

function maskedImages(count: number, side: number, grid: number, random: Generator): MaskedImages {
  const hidden = Math.round(0.4 * grid * grid);
  const masked = new Uint8Array(count * grid * grid);
  for (let b = 0; b < count; b++)
    masked.set(blockMask({ grid, count: hidden, least: Math.min(16, hidden) }, random), b * grid * grid);
  return {
    ...{ size: count, side, masked, files: [] },
    images: random.normal(count * 3 * side * side),
    predictPatches: Int32Array.from([...masked.keys()].filter((i) => masked[i] === 1)),
  };
}

/** Texts of random words; each second one is `shorter` by so many tokens. */
function maskedTexts(
  count: number,
  length: number,
  vocabulary: number,
  share: number,
  shorter: number,
  random: Generator,
): MaskedTexts {
  const maskId = vocabulary - 1;
  const ids = new Int32Array(count * length).fill(1);
  const padding = new Uint8Array(count * length).fill(1);
  const predict: number[] = [];
  const targets: number[] = [];
  for (let b = 0; b < count; b++) {
    const words = length - 2 - (b % 2) * shorter;
    const row = Int32Array.of(0, ...random.integers(words, 4, maskId), 2);
    const whole = row.slice();
    for (const place of maskWords(row, share, { size: maskId, maskId }, random, BERT_RULE)) {
      predict.push(b * length + place);
      targets.push(whole[place]);
    }
    ids.set(row, b * length);
    padding.fill(0, b * length, b * length + row.length);
  }
  return {
    ...{ size: count, length, ids, padding },
    ...{ predictTokens: Int32Array.from(predict), targets: Int32Array.from(targets) },
  };
}
