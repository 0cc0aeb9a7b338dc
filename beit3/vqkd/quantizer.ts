/** The codebook of VQ-KD: unit vectors that follow the means of what falls to them (Peng et al. 2022, arXiv:2208.06366). */
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import {
  add,
  affine,
  argmax,
  assign,
  cat,
  div,
  gatherRows,
  less,
  matmul,
  maximum,
  normalize,
  ones,
  reshape,
  scatterAddRows,
  slice,
  square,
  sub,
  sum,
  transpose,
  where,
} from '../../core/ops/index.js';
import { defaultGenerator, type Generator } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { type Buffer, type Builder, writeValues } from '../../nn/builder.js';
import * as init from '../../nn/init.js';
import { mseLoss } from '../../nn/losses.js';
import { Module } from '../../nn/module.js';

const KMEANS_ROUNDS = 10;

/** The code vectors and what the reference keeps beside them. */
class CodeVectors extends Module {
  /** Unit vectors [K, C]; no optimiser changes them. */
  readonly weight: Buffer;
  readonly cluster_size: Buffer;
  readonly embed_avg: Buffer;
  /** [1]: 1 once the vectors have begun. */
  readonly initted: Buffer;

  constructor(b: Builder, codes: number, width: number) {
    super();
    this.weight = b.at('weight').buffer([codes, width], init.zeros);
    this.cluster_size = b.at('cluster_size').buffer([codes], init.zeros);
    this.embed_avg = b.at('embed_avg').buffer([codes, width], init.zeros);
    this.initted = b.at('initted').buffer([1], init.zeros);
  }
}

export interface Quantized {
  /** Unit code vectors [M, C], through which gradients pass straight to the input. */
  readonly vectors: Tensor;
  /** int32 [M]. */
  readonly ids: Tensor;
  /** beta times the mean squared distance of the input from its (fixed) codes. */
  readonly loss: Tensor;
}

export interface QuantizerOptions {
  /** Size of the codebook. */
  readonly codes: number;
  /** Width C of its vectors. */
  readonly width: number;
  /** Share of the old vector that is kept in each step; the official models have 0.99. */
  readonly decay?: number;
  /** Weight of the commitment loss; the official models have 1. */
  readonly beta?: number;
}

/** Vector quantisation on the unit sphere, with a codebook that is an exponential moving average. */
export class NormEmaQuantizer extends Module {
  readonly embedding: CodeVectors;
  /** Moving average of how many vectors fall to each code in a batch. */
  readonly cluster_size: Buffer;
  readonly #decay: number;
  readonly #beta: number;

  constructor(b: Builder, { codes, width, decay = 0.99, beta = 1 }: QuantizerOptions) {
    super();
    this.embedding = new CodeVectors(b.at('embedding'), codes, width);
    this.cluster_size = b.at('cluster_size').buffer([codes], init.zeros);
    this.#decay = decay;
    this.#beta = beta;
  }

  get codes(): number {
    return this.cluster_size.size;
  }

  /** Codes int32 [M] of vectors [M, C]; nothing is differentiated or counted. */
  nearest(rows: Tensor): Tensor {
    return noGrad(() => scope(() => nearestOf(normalize(rows), this.embedding.weight)));
  }

  /** Vectors [M, C] and their codes. In training the codebook moves towards them; `counts` is what else is averaged. */
  forward(rows: Tensor): Quantized {
    const z = normalize(rows);
    const ids = noGrad(() => nearestOf(z, this.embedding.weight));
    const codes = gatherRows(this.embedding.weight, ids);
    // Before the codebook moves: the loss is about the codes that were taken.
    const taken = codes.detach();
    const loss = affine(mseLoss(taken, z), this.#beta, 0);
    const vectors = add(z, sub(taken, z).detach());
    noGrad(() => scope(() => this.#follow(z.detach(), ids)));
    return { vectors, ids, loss };
  }

  #follow(z: Tensor, ids: Tensor): void {
    const { weight } = this.embedding;
    const keepShare = this.#decay;
    const ema = (old: Tensor, now: Tensor): Tensor => add(affine(old, keepShare, 0), affine(now, 1 - keepShare, 0));
    const { bins, sums } = clusters(z, ids, this.codes);
    assign(this.cluster_size, ema(this.cluster_size, reshape(bins, [this.codes])));
    if (!this.training) return;
    const isEmpty = less(bins, 0.5);
    const means = normalize(div(sums, maximum(bins, 1)));
    assign(weight, normalize(ema(weight, where(isEmpty, weight, means))));
  }

  /**
   * Begins the codebook with k-means on the unit sphere over the first batch [M, C]; codes that nothing falls to stay the
   * vectors that they were drawn as.
   */
  begin(rows: Tensor, generator: Generator = defaultGenerator()): void {
    noGrad(() =>
      scope(() => {
        const z = normalize(rows);
        const M = z.shape[0];
        const picks =
          M >= this.codes ? generator.permutation(M).slice(0, this.codes) : generator.integers(this.codes, 0, M);
        let means = gatherRows(z, tensor(Int32Array.from(picks), { backend: z.backend }));
        let sizes: Tensor = this.embedding.cluster_size;
        for (let round = 0; round < KMEANS_ROUNDS; round++) {
          [means, sizes] = scope(() => {
            const ids = mostAlike(z, means, null);
            const { bins, sums } = clusters(z, ids, this.codes);
            const moved = where(less(bins, 0.5), means, normalize(div(sums, maximum(bins, 1))));
            return [moved, reshape(bins, [this.codes])];
          });
        }
        assign(this.embedding.weight, means);
        assign(this.embedding.cluster_size, sizes);
      }),
    );
    writeValues(this.embedding.initted, Float32Array.of(1));
  }

  /** Whether the codebook has begun; a fresh one is all zeros. */
  async hasBegun(): Promise<boolean> {
    return ((await this.embedding.initted.data()) as Float32Array)[0] !== 0;
  }

  /**
   * Puts vectors of the batch [M, C], drawn by chance, in the place of codes to which fewer than `least` vectors a batch
   * fall on average; such a code counts as having had `least` then.
   */
  restartDead(rows: Tensor, least: number, generator: Generator = defaultGenerator()): void {
    noGrad(() =>
      scope(() => {
        const picks = Int32Array.from(generator.integers(this.codes, 0, rows.shape[0]));
        const drawn = gatherRows(normalize(rows), tensor(picks, { backend: rows.backend }));
        const isDead = less(this.cluster_size, least);
        assign(this.embedding.weight, where(reshape(isDead, [this.codes, 1]), drawn, this.embedding.weight));
        assign(this.cluster_size, where(isDead, least, this.cluster_size));
      }),
    );
  }
}

/** The code whose vector is nearest to each row of z [M, C]: argmin |z - w|^2, where |z| is the same for all. */
function nearestOf(z: Tensor, codes: Tensor): Tensor {
  return scope(() => mostAlike(z.detach(), codes, sum(square(codes), 1)));
}

/** Scores that are held at a time: 64 MiB. */
const MOST_SCORES = 1 << 24;

/** The row of `codes` with the largest product with each row of z, or with `lengths` the largest 2 z.w - length. */
function mostAlike(z: Tensor, codes: Tensor, lengths: Tensor | null): Tensor {
  const [M, K] = [z.shape[0], codes.shape[0]];
  const rows = Math.max(1, Math.floor(MOST_SCORES / K));
  const of = (part: Tensor): Tensor =>
    scope(() => {
      const products = matmul(part, transpose(codes, 0, 1));
      return argmax(lengths === null ? products : sub(affine(products, 2, 0), lengths), 1);
    });
  if (M <= rows) return of(z);
  const parts = Array.from({ length: Math.ceil(M / rows) }, (_, i) => of(slice(z, 0, i * rows, (i + 1) * rows)));
  return cat(parts, 0);
}

/** How many rows fall to each code [K, 1], and their sums [K, C]. */
function clusters(z: Tensor, ids: Tensor, codes: number): { bins: Tensor; sums: Tensor } {
  const one = ones([z.shape[0], 1], { backend: z.backend });
  return { bins: scatterAddRows(one, ids, codes), sums: scatterAddRows(z, ids, codes) };
}
