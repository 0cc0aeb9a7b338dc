import type { Spec } from '../backend.js';
import { call } from '../dispatch.js';
import { OpError } from '../errors.js';
import { sizeOf } from '../layout.js';
import { defineOp, type Operand } from '../op.js';
import type { Tensor } from '../tensor.js';
import { add } from './add.js';
import { cast } from './cast.js';
import { expectShape, expectSplit, floatOf, joinRows, once, splitRows, widen } from './fused.js';
import { gelu, geluSlope } from './gelu.js';
import { keepsSlope, type LinearAttrs, type LinearOptions, linear } from './linear.js';
import { mul } from './mul.js';
import { multiwayLinearBackwardInput } from './multiwayLinearBackwardInput.js';
import { multiwayLinearBackwardWeights } from './multiwayLinearBackwardWeights.js';
import { formatSpec, need } from './rules.js';
import { sum } from './sum.js';

/** A linear map of one modality. */
export interface WeightAndBias {
  readonly weight: Tensor;
  readonly bias: Tensor | null;
}

/** One set of parameters for the rows before the split, one for the rows from it on. */
export interface Ways<T> {
  readonly A: T;
  readonly B: T;
}

export interface MultiwayLinearAttrs extends LinearAttrs {
  readonly split: number;
}

const op = defineOp<MultiwayLinearAttrs>({
  name: 'multiwayLinear',
  infer(inputs, { split, activation, keep }) {
    const x = need('multiwayLinear', inputs, 0);
    const wA = need('multiwayLinear', inputs, 1);
    const wB = need('multiwayLinear', inputs, 3);
    expectSplit('multiwayLinear', x, split);
    if (wA.shape.length !== 2 || wA.shape[1] !== x.shape[2]) {
      throw new OpError(
        'multiwayLinear',
        `expected x [B, L, K] and weights [N, K], got ${formatSpec(x)} and ${formatSpec(wA)}`,
      );
    }
    const shape = [x.shape[0], x.shape[1], wA.shape[0]];
    expectShape('multiwayLinear', 'weight B', wB, wA.shape);
    expectShape('multiwayLinear', 'bias A', inputs[2], [wA.shape[0]]);
    expectShape('multiwayLinear', 'bias B', inputs[4], [wA.shape[0]]);
    if ((inputs[2] === null) !== (inputs[4] === null))
      throw new OpError('multiwayLinear', 'expected two biases or none, got one');
    expectShape('multiwayLinear', 'a residual', inputs[5], shape);
    const y = { shape, dtype: floatOf('multiwayLinear', inputs) };
    return keep && activation === 'gelu' ? [y, y] : [y];
  },
  decompose(inputs, { split, activation, keep }) {
    const dtype = floatOf('multiwayLinear', inputs);
    const [x, wA, bA, wB, bB, residual] = inputs.map(widen) as [Tensor, Tensor, Operand, Tensor, Operand, Operand];
    const [before, after] = splitRows(x, split);
    const z = joinRows(linear(before, wA, bA), linear(after, wB, bB));
    const active = activation === 'gelu' ? gelu(z) : z;
    const y = cast(residual ? add(active, residual) : active, dtype);
    return keep && activation === 'gelu' ? [y, cast(geluSlope(z), dtype)] : [y];
  },
  vjp: {
    auxiliary: 1,
    saves([x, wA, , wB], [, slope]) {
      const weights = wA?.requiresGrad || wB?.requiresGrad;
      return [weights ? x : null, ...(x?.requiresGrad ? [wA, wB] : [null, null]), slope ?? null];
    },
    back([g], [x, wA, wB, slope], { split }, [, , bias]) {
      const dy = g as Tensor;
      const dz = once(() => (slope ? mul(dy, slope) : dy));
      const weights = once(() => multiwayLinearBackwardWeights(dz(), x as Tensor, split, bias !== null));
      const biasOf = (way: 0 | 1) => () => (x ? weights()[2 + way] : sum(splitRows(dz(), split)[way], [0, 1]));
      return [
        () => multiwayLinearBackwardInput(dz(), wA as Tensor, wB as Tensor, split),
        () => weights()[0],
        biasOf(0),
        () => weights()[1],
        biasOf(1),
        () => dy,
      ];
    },
  },
  cost: ([x, w]) => 2 * sizeOf(x?.shape ?? [0]) * (w?.shape[0] ?? 0),
  samples: () => [
    {
      inputs: [{ shape: [2, 5, 7] }, { shape: [3, 7] }, null, { shape: [3, 7] }, null, null],
      attrs: { split: 2, activation: 'none', keep: false },
    },
    {
      inputs: [
        { shape: [2, 6, 8] },
        { shape: [5, 8] },
        { shape: [5] },
        { shape: [5, 8] },
        { shape: [5] },
        { shape: [2, 6, 5] },
      ],
      attrs: { split: 4, activation: 'gelu', keep: true },
    },
  ],
});

/**
 * Which parameters all rows of x [B, L, D] use: 'A' for split -1 or split >= L, 'B' for split 0; null when they differ.
 */
export function oneWay(name: string, split: number, x: Spec): 'A' | 'B' | null {
  if (x.shape.length !== 3) throw new OpError(name, `expected x of shape [B, L, D], got ${formatSpec(x)}`);
  if (!Number.isInteger(split) || split < -1) {
    throw new OpError(name, `expected a split of -1 (all A), 0 (all B) or the number of rows that are A, got ${split}`);
  }
  if (split === 0) return 'B';
  return split === -1 || split >= x.shape[1] ? 'A' : null;
}

/**
 * linear over x [B, L, K] with the parameters of A for rows l < split and of B for the others, into one result [B, L, N].
 * Split 0 is all B; split -1 or >= L is all A. Options as for linear.
 */
export function multiwayLinear(
  x: Tensor,
  { A, B }: Ways<WeightAndBias>,
  split: number,
  options: LinearOptions = {},
): Tensor {
  const way = oneWay('multiwayLinear', split, x);
  if (way !== null) {
    const { weight, bias } = way === 'A' ? A : B;
    return linear(x, weight, bias, options);
  }
  const { activation = 'none', residual = null } = options;
  const operands = [x, A.weight, A.bias, B.weight, B.bias];
  const [y, z] = call(op, [...operands, residual], { split, activation, keep: keepsSlope(activation, operands) });
  z?.dispose();
  return y;
}
