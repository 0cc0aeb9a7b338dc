/** Random operands for the samples of ops, in several layouts. */
import type { Attrs } from '../../core/backend.js';
import { type DType, isFloat } from '../../core/dtype.js';
import { sizeOf } from '../../core/layout.js';
import { definedOps, type OpDefinition, type Operand, type Sample, type SampleInput } from '../../core/op.js';
import { expand, slice, transpose } from '../../core/ops/index.js';
import { Generator } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';

/**
 * How elements lie in memory: in order; in order behind a first entry; axes exchanged; with gaps, from an offset on; one
 * entry for the whole first or last axis.
 */
export const LAYOUTS = ['contiguous', 'behind', 'transposed', 'sliced', 'firstRepeated', 'lastRepeated'] as const;
export type LayoutName = (typeof LAYOUTS)[number];

/** The layouts in which an op's operands may come. */
export function layoutsOf(op: OpDefinition<Attrs>): readonly LayoutName[] {
  // What is written in place may not lie over itself; reshape copies first what it cannot view.
  if (op.mutates || op.name === 'reshape') return ['contiguous'];
  // A variance of 0 turns the last bit of the mean into an error of any size.
  if (op.name === 'std') return LAYOUTS.filter((name) => !name.endsWith('Repeated'));
  if (/layerNorm/i.test(op.name)) return LAYOUTS.filter((name) => name !== 'lastRepeated');
  return LAYOUTS;
}

/**
 * Ops whose operands belong together, so that a kernel may use that they do: the output and log-sum-exp that
 * attentionBackward takes are attention's. Random ones mean nothing; they are compared as a part of attention's gradient.
 */
export const DEPENDENT: readonly string[] = ['attentionBackward'];

/** Every op that has samples, by name. */
export function sampledOps(): { readonly op: OpDefinition<Attrs>; readonly samples: readonly Sample<Attrs>[] }[] {
  return [...definedOps().values()]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map((op) => ({ op, samples: op.samples?.() ?? [] }));
}

/** An operand whose values may be given. */
export interface Input extends SampleInput {
  readonly values?: readonly number[];
}

/** Random values for an operand; those of 16 bits are multiples of 1/16, which they hold exactly. */
function valuesFor({ low, high, dtype = 'float32', values: given }: Input, count: number, seed: number): number[] {
  if (given) return [...given];
  const generator = new Generator(seed);
  const uniform = Array.from(generator.uniform(count));
  if (dtype === 'bool') return uniform.map((u) => (u < 0.5 ? 0 : 1));
  if (!isFloat(dtype)) {
    const from = low ?? 0;
    return uniform.map((u) => from + Math.floor(u * ((high ?? 10) - from)));
  }
  const [a, b] = [low ?? -2, high ?? 2];
  const values = uniform.map((u) => a + (b - a) * u);
  return dtype === 'float16' || dtype === 'bfloat16' ? values.map((v) => Math.ceil(v * 16) / 16) : values;
}

/**
 * An operand of a sample, with the same values on every backend; `special` replaces the value in the middle of memory.
 * Call it in a scope.
 */
export function operand(input: Input, layout: LayoutName, seed: number, special?: number): Tensor {
  const { shape, dtype = 'float32' } = input;
  const rank = shape.length;
  const make = (stored: readonly number[]) => {
    const values = valuesFor(input, sizeOf(stored), seed);
    if (special !== undefined && values.length > 0) values[values.length >> 1] = special;
    return tensor(values, { shape: stored, dtype });
  };
  if (layout === 'transposed' && rank > 1)
    return transpose(make([...shape.slice(0, -2), shape[rank - 1], shape[rank - 2]]));
  if (layout === 'behind' && rank > 0) return slice(make(shape.with(0, shape[0] + 1)), 0, 1);
  if (layout === 'sliced' && rank > 0) return slice(make(shape.with(-1, 2 * shape[rank - 1] + 1)), -1, 1, undefined, 2);
  if (layout.endsWith('Repeated') && rank > (layout === 'firstRepeated' ? 1 : 0)) {
    const axis = layout === 'firstRepeated' ? 0 : rank - 1;
    return expand(make(shape[axis] === 0 ? shape : shape.with(axis, 1)), shape);
  }
  return make(shape);
}

/** One call of an op. */
export interface Trial {
  readonly op: OpDefinition<Attrs>;
  readonly sample: Sample<Attrs>;
  /** Of the inputs that have none of their own. */
  readonly dtype: DType;
  readonly layout: LayoutName;
  readonly seed: number;
  /** A value that stands once in each float operand. */
  readonly special?: number;
}

/** The operands of a trial. Call it in a scope. */
export function operands({ sample, dtype: given, layout, seed, special }: Omit<Trial, 'op'>): Operand[] {
  return sample.inputs.map((input, i) => {
    if (!input) return null;
    const dtype = input.dtype ?? given;
    return operand({ ...input, dtype }, layout, seed + 7 * i, isFloat(dtype) ? special : undefined);
  });
}

/** `sample` with sizes renamed alike in all operands (1 stays 1), and with them the bounds of integer operands. */
export function resized(sample: Sample<Attrs>, rename: (size: number) => number): Sample<Attrs> {
  const map = new Map<number, number>([[1, 1]]);
  const renamed = (size: number): number => {
    let to = map.get(size);
    if (to === undefined) map.set(size, (to = rename(size)));
    return to;
  };
  const inputs = sample.inputs.map((input) => input && { ...input, shape: input.shape.map(renamed) });
  return {
    attrs: sample.attrs,
    inputs: inputs.map((input) =>
      input && input.dtype === 'int32' && input.high !== undefined && map.has(input.high)
        ? { ...input, high: map.get(input.high) }
        : input,
    ),
  };
}
