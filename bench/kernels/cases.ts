/** The kernels that are timed: shapes of BEiT-3-base at batch 32, and how each shrinks on a slower device. */
import type { DType } from '../../core/dtype.js';
import { bytesOf } from '../../core/dtype.js';
import { sizeOf } from '../../core/layout.js';

/** Lengths of axes by their one-letter label. */
export type Sizes = Readonly<Record<string, number>>;

/** What an operand holds: values around 0, positive ones, small weights, classes below 64,010, or a padding mask. */
export type Content = 'values' | 'positive' | 'weights' | 'ones' | 'classes' | 'padding';

export interface OperandSpec {
  /** One letter an axis; the letters are keys of the sizes. '' is a scalar. */
  readonly axes: string;
  readonly content: Content;
  /** Stays float32 when the case runs in float16 (by-products such as a log-sum-exp). */
  readonly wide?: boolean;
}

export interface Case {
  readonly name: string;
  /** The op of core/ops. */
  readonly op: string;
  readonly about: string;
  /** The whole problem, for a large GPU. */
  readonly full: Sizes;
  /** Which axes shrink on a slower device, first to last, and how far; axes of one group shrink alike. */
  readonly shrinks: readonly (readonly [axes: string, least: number])[];
  readonly inputs: (sizes: Sizes) => readonly (OperandSpec | null)[];
  /** Axes of the results that are compared, then of the inputs that the op writes. */
  readonly outputs: (sizes: Sizes) => readonly string[];
  /** Indices of inputs that the op writes and the check reads. */
  readonly written?: (sizes: Sizes) => readonly number[];
  readonly attrs: (sizes: Sizes) => object;
  /** Inputs that are results of another op on the other inputs, made before the clock starts. */
  readonly derived?: Derived;
  /** Along which axes the check picks entries, and how many: those on which results do not depend jointly. */
  readonly picks: Sizes;
  readonly flops: (sizes: Sizes) => number;
  /** Only in float32. */
  readonly wideOnly?: boolean;
  /** What peers in other frameworks call it; null where they have no counterpart. */
  readonly peer: PeerKind | null;
}

export interface Derived {
  readonly op: string;
  readonly attrs: object;
  /** Its inputs, as indices of this case's. */
  readonly from: readonly (number | null)[];
  /** Index of this case's input -> index of the other op's result. */
  readonly to: Readonly<Record<number, number>>;
}

export type PeerKind =
  | 'matmul'
  | 'linear'
  | 'linearGelu'
  | 'linearResidual'
  | 'layerNorm'
  | 'attention'
  | 'crossEntropy'
  | 'adamw';

export const WORDS = 64010;
const IMAGE_TOKENS = 197;
const BATCH = 32;

const some = (axes: string, content: Content = 'values', wide = false): OperandSpec => ({ axes, content, wide });

type LinearKind = 'linear' | 'linearGelu' | 'linearResidual';

function linear(name: string, from: number, to: number, peer: LinearKind, about: string): Case {
  return {
    name,
    op: 'linear',
    about,
    full: { R: BATCH * IMAGE_TOKENS, K: from, N: to },
    shrinks: [
      ['R', 16],
      ['N', 64],
      ['K', 64],
    ],
    inputs: () => [some('RK'), some('NK', 'weights'), some('N'), peer === 'linearResidual' ? some('RN') : null],
    outputs: () => ['RN'],
    attrs: () => ({ activation: peer === 'linearGelu' ? 'gelu' : 'none', keep: false }),
    picks: { R: 12, N: 24 },
    flops: ({ R, K, N }) => 2 * R * K * N,
    peer,
  };
}

function norm(width: number): Case {
  return {
    name: `sub-LN ${width}`,
    op: 'layerNorm',
    about: `layer norm of rows of ${width}`,
    full: { R: BATCH * IMAGE_TOKENS, D: width },
    shrinks: [['R', 8]],
    inputs: () => [some('RD'), some('D'), some('D')],
    outputs: () => ['RD', 'R', 'R'],
    attrs: () => ({ eps: 1e-5 }),
    picks: { R: 24 },
    flops: ({ R, D }) => 8 * R * D,
    peer: 'layerNorm',
  };
}

function normBackward(width: number): Case {
  return {
    name: `sub-LN ${width} backward`,
    op: 'layerNormBackward',
    about: `its gradients of input, gain and bias`,
    full: { R: BATCH * IMAGE_TOKENS, D: width },
    shrinks: [['R', 8]],
    inputs: () => [some('RD'), some('RD'), some('R', 'values', true), some('R', 'values', true), some('D')],
    // The gradients of gain and bias sum over all rows: nothing can be picked.
    outputs: () => ['RD', 'D', 'D'],
    attrs: () => ({}),
    derived: { op: 'layerNorm', attrs: { eps: 1e-5 }, from: [1, 4, null], to: { 2: 1, 3: 2 } },
    picks: {},
    flops: ({ R, D }) => 14 * R * D,
    peer: null,
  };
}

const NO_DROPOUT = { scale: 0.125, dropout: 0, seed: [0, 0], counter: [0, 0] } as const;

function attention(length: number, text: number, batch: number): Case {
  const L = length + text;
  return {
    name: `attention ${length}${text > 0 ? `+${text}` : ''}`,
    op: 'attention',
    about: `12 heads of 64, ${text > 0 ? `${length} image and ${text} text tokens with padding` : `${length} image tokens`}`,
    full: { B: batch, Q: L, K: L, H: 12, d: 64 },
    shrinks: [
      ['B', 1],
      ['H', 1],
      ['QK', 32],
    ],
    inputs: () => [some('BQHd'), some('BKHd'), some('BKHd'), text > 0 ? some('BK', 'padding') : null, null],
    outputs: () => ['BQHd', 'BHQ'],
    attrs: () => NO_DROPOUT,
    picks: { B: 2, H: 2, Q: 6 },
    flops: ({ B, Q, K, H, d }) => 4 * B * Q * K * H * d,
    peer: 'attention',
  };
}

function attentionBackward(length: number, batch: number): Case {
  return {
    name: `attention ${length} backward`,
    op: 'attentionBackward',
    about: 'gradients of q, k and v',
    full: { B: batch, Q: length, K: length, H: 12, d: 64 },
    shrinks: [
      ['B', 1],
      ['H', 1],
      ['QK', 32],
    ],
    inputs: () => [
      some('BQHd'),
      some('BQHd'),
      some('BKHd'),
      some('BKHd'),
      some('BQHd'),
      some('BHQ', 'values', true),
      null,
      null,
    ],
    outputs: () => ['BQHd', 'BKHd', 'BKHd'],
    attrs: () => ({ ...NO_DROPOUT, biasGrad: false }),
    derived: { op: 'attention', attrs: NO_DROPOUT, from: [1, 2, 3, 6, 7], to: { 4: 0, 5: 1 } },
    picks: { B: 1, H: 1 },
    flops: ({ B, Q, K, H, d }) => 10 * B * Q * K * H * d,
    peer: null,
  };
}

const lossAttrs = { smoothing: 0.1, ignoreIndex: -100 };

const loss: Case = {
  name: 'word cross entropy',
  op: 'crossEntropy',
  about: 'over 64,010 words',
  full: { N: 1024, C: WORDS },
  shrinks: [
    ['N', 2],
    ['C', 1000],
  ],
  inputs: () => [some('NC'), some('N', 'classes')],
  outputs: () => ['N', 'N'],
  attrs: () => lossAttrs,
  picks: { N: 6 },
  flops: ({ N, C }) => 4 * N * C,
  peer: 'crossEntropy',
};

const lossBackward: Case = {
  ...loss,
  name: 'word cross entropy backward',
  op: 'crossEntropyBackward',
  about: 'its gradient of the logits',
  inputs: () => [some('N', 'values', true), some('NC'), some('N', 'values', true), some('N', 'classes')],
  derived: { op: 'crossEntropy', attrs: lossAttrs, from: [1, 3], to: { 2: 1 } },
  outputs: () => ['NC'],
  flops: ({ N, C }) => 3 * N * C,
  peer: null,
};

const PARAMETERS = 222e6;
/** Of the parameters' tensors: one weight of a feed-forward layer. */
const TENSOR = 768 * 3072;

const adamw: Case = {
  name: 'AdamW',
  op: 'adamwStep',
  about: `one step with clipping over ${PARAMETERS / 1e6}M parameters`,
  full: { T: Math.round(PARAMETERS / TENSOR), E: TENSOR },
  shrinks: [
    ['T', 1],
    ['E', 1000],
  ],
  inputs: ({ T }) => [
    ...['values', 'values', 'values', 'positive'].flatMap((content) =>
      new Array<OperandSpec>(T).fill(some('E', content as Content)),
    ),
    some('', 'ones'),
  ],
  outputs: () => ['E', 'E', 'E'],
  written: ({ T }) => [T - 1, 3 * T - 1, 4 * T - 1],
  attrs: ({ T }) => ({
    count: T,
    lr: new Array(T).fill(1e-4),
    weightDecay: new Array(T).fill(0.05),
    beta1: 0.9,
    beta2: 0.98,
    eps: 1e-6,
    step: 10,
    maxNorm: 0.5,
  }),
  picks: { E: 500 },
  flops: ({ T, E }) => 14 * T * E,
  wideOnly: true,
  peer: 'adamw',
};

const matmul: Case = {
  name: 'matmul 4096',
  op: 'matmul',
  about: 'two square matrices',
  full: { M: 4096, K: 4096, N: 4096 },
  shrinks: [['MKN', 64]],
  inputs: () => [some('MK'), some('KN')],
  outputs: () => ['MN'],
  attrs: () => ({}),
  picks: { M: 12, N: 24 },
  flops: ({ M, K, N }) => 2 * M * K * N,
  peer: 'matmul',
};

export const CASES: readonly Case[] = [
  matmul,
  linear('qkv', 768, 2304, 'linear', 'queries, keys and values in one product'),
  linear('out', 768, 768, 'linearResidual', 'with the residual'),
  linear('fc1+GELU', 768, 3072, 'linearGelu', 'with bias and GELU'),
  linear('fc2', 3072, 768, 'linearResidual', 'with the residual'),
  norm(768),
  norm(3072),
  normBackward(768),
  attention(197, 0, BATCH),
  attention(577, 0, 8),
  attention(901, 64, 4),
  attentionBackward(197, BATCH),
  loss,
  lossBackward,
  adamw,
];

export const CASE_NAMES: readonly string[] = CASES.map((c) => c.name);

/** The shape of an operand. */
export const shapeOf = (axes: string, sizes: Sizes): number[] => [...axes].map((axis) => sizes[axis]);

/** The dtype of an operand when the case runs in `dtype`. */
export function dtypeOf({ content, wide }: OperandSpec, dtype: DType): DType {
  if (content === 'classes') return 'int32';
  if (content === 'padding') return 'bool';
  return wide || content === 'ones' ? 'float32' : dtype;
}

/** Bytes that must move at least: each input read once, each result written once. */
export function bytesMoved(c: Case, sizes: Sizes, dtype: DType): number {
  const inputs = c.inputs(sizes);
  const written = c.written ? 3 * sizes.T * sizes.E * 4 : 0;
  const read = inputs.reduce((n, o) => n + (o ? sizeOf(shapeOf(o.axes, sizes)) * bytesOf(dtypeOf(o, dtype)) : 0), 0);
  const results = c.written ? [] : c.outputs(sizes);
  return results.reduce((n, axes) => n + sizeOf(shapeOf(axes, sizes)) * bytesOf(dtype), read + written);
}

/** The sizes at a fraction of the whole problem's work. */
export function scaled({ full, shrinks }: Case, scale: number): Sizes {
  const sizes: Record<string, number> = { ...full };
  let left = Math.min(1, scale);
  for (const [axes, least] of shrinks) {
    // Nearly there: the lengths that give a case its name stay.
    if (left > 0.7) break;
    const whole = full[axes[0]];
    const wanted = Math.round(whole * left ** (1 / axes.length));
    // Large axes keep a multiple of 16: how a kernel treats a ragged edge is not what is asked here.
    const size = Math.min(whole, Math.max(Math.min(whole, least), wanted >= 256 ? wanted - (wanted % 16) : wanted));
    for (const axis of axes) sizes[axis] = size;
    left *= (whole / size) ** axes.length;
  }
  return sizes;
}

/** What is left of the sizes when only the checked entries are computed. */
export const pickedSizes = (c: Case, sizes: Sizes): Sizes =>
  Object.fromEntries(Object.entries(sizes).map(([axis, n]) => [axis, Math.min(n, c.picks[axis] ?? n)]));

/** 6304 x 768 x 2304 and the like, for tables. */
export const formatSizes = (sizes: Sizes): string =>
  Object.entries(sizes)
    .map(([axis, n]) => `${axis}${n}`)
    .join(' ');
