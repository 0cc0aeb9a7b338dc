/**
 * Multiway: every projection and norm has vision weights A and language weights B around one shared attention. Of a
 * sequence [B, L, D], the positions before `split` take A and the others B; split -1 is all A and 0 all B.
 */
import { OpError } from '../../core/errors.js';
import { multiwayLayerNorm, multiwayLinear } from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import type { Builder } from '../../nn/builder.js';
import type { LinearCall } from '../../nn/layers.js';
import { LayerNorm, Linear } from '../../nn/layers.js';
import { Module } from '../../nn/module.js';

/** Which weights a model has: classification needs no language weights at all. */
export interface Branches {
  readonly A: boolean;
  readonly B: boolean;
}

/** Two modules of one kind; one that the model does not use is null. */
export class Multiway<M extends Module> extends Module {
  readonly A: M | null;
  readonly B: M | null;

  constructor(b: Builder, branches: Branches, make: (b: Builder, branch: 'A' | 'B') => M) {
    super();
    this.A = branches.A ? make(b.at('A'), 'A') : null;
    this.B = branches.B ? make(b.at('B'), 'B') : null;
  }
}

/** Two modules, either of which may be absent. */
export interface Pair<M> {
  readonly A: M | null;
  readonly B: M | null;
}

function have<M>(module: M | null, branch: 'vision (A)' | 'language (B)'): M {
  if (module === null) throw new OpError('multiway', `this model was made without its ${branch} weights`);
  return module;
}

/** The module that sees the whole sequence, or null when both see a part. */
function single<M>({ A, B }: Pair<M>, split: number, length: number): M | null {
  if (split < 0 || split >= length) return have(A, 'vision (A)');
  return split === 0 ? have(B, 'language (B)') : null;
}

/** act(x W^T + b) + residual over x [B, L, in], each position with the weights of its branch. */
export function forwardLinear(pair: Pair<Linear>, x: Tensor, split: number, call: LinearCall = {}): Tensor {
  const one = single(pair, split, x.shape[1]);
  if (one) return one.forward(x, call);
  return multiwayLinear(x, { A: have(pair.A, 'vision (A)'), B: have(pair.B, 'language (B)') }, split, call);
}

/** LayerNorm over x [B, L, D], each position with the weights of its branch. */
export function forwardNorm(pair: Pair<LayerNorm>, x: Tensor, split: number): Tensor {
  const one = single(pair, split, x.shape[1]);
  if (one) return one.forward(x);
  const A = have(pair.A, 'vision (A)');
  return multiwayLayerNorm(x, A, have(pair.B, 'language (B)'), split, { eps: A.eps });
}

export class MultiwayLinear extends Multiway<Linear> {
  forward(x: Tensor, split: number, call: LinearCall = {}): Tensor {
    return forwardLinear(this, x, split, call);
  }
}

export class MultiwayLayerNorm extends Multiway<LayerNorm> {
  constructor(b: Builder, branches: Branches, features: number, eps: number) {
    super(b, branches, (at) => new LayerNorm(at, features, eps));
  }

  forward(x: Tensor, split: number): Tensor {
    return forwardNorm(this, x, split);
  }
}

/** One projection for vision and language, in the place of a multiway one. */
export class SharedLinear extends Module {
  readonly weight: Linear['weight'];
  readonly bias: Linear['bias'];
  readonly #linear: Linear;

  constructor(b: Builder, ...rest: Rest<typeof Linear>) {
    super();
    this.#linear = new Linear(b, ...rest);
    this.weight = this.#linear.weight;
    this.bias = this.#linear.bias;
  }

  forward(x: Tensor, _split: number, call: LinearCall = {}): Tensor {
    return this.#linear.forward(x, call);
  }
}

/** One LayerNorm for both. */
export class SharedLayerNorm extends Module {
  readonly weight: LayerNorm['weight'];
  readonly bias: LayerNorm['bias'];
  readonly #norm: LayerNorm;

  constructor(b: Builder, ...rest: Rest<typeof LayerNorm>) {
    super();
    this.#norm = new LayerNorm(b, ...rest);
    this.weight = this.#norm.weight;
    this.bias = this.#norm.bias;
  }

  forward(x: Tensor, _split: number): Tensor {
    return this.#norm.forward(x);
  }
}

type Rest<C extends abstract new (b: Builder, ...rest: never[]) => unknown> =
  ConstructorParameters<C> extends [Builder, ...infer R] ? R : never;
