/** A case at given sizes: the same values on every backend, its call, and the part of it that a check computes. */
import type { Backend } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { call } from '../../core/dispatch.js';
import { type DType, fromHalf, toHalf } from '../../core/dtype.js';
import { sizeOf } from '../../core/layout.js';
import { keep, scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { definedOps, type OpDefinition } from '../../core/op.js';
import { affine } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import {
  type Case,
  type Content,
  dtypeOf,
  type OperandSpec,
  pickedSizes,
  type Sizes,
  shapeOf,
  WORDS,
} from './cases.js';

export type Host = Float32Array | Int32Array | Uint8Array;
type Operands = (Tensor | null)[];

/** Values that look random and are the same in every run. */
export function fill(content: Content, count: number, seed: number, last: number): Host {
  if (content === 'ones') return new Float32Array(count).fill(1);
  // The last sixteenth of a row of keys is padding.
  if (content === 'padding')
    return Uint8Array.from({ length: count }, (_, i) => (i % last >= last - (last >> 4) ? 1 : 0));
  const out = content === 'classes' ? new Int32Array(count) : new Float32Array(count);
  let state = (seed + 1) * 0x9e3779b1;
  for (let i = 0; i < count; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    const uniform = state / 2 ** 31;
    if (content === 'classes') out[i] = Math.floor(((uniform + 1) / 2) * last);
    else out[i] = content === 'positive' ? 0.01 + Math.abs(uniform) : content === 'weights' ? 0.05 * uniform : uniform;
  }
  return out;
}

const opNamed = (name: string): OpDefinition => {
  const op = definedOps().get(name);
  if (!op) throw new Error(`there is no op ${name}`);
  return op;
};

/** A case on one backend, ready to run. */
export class Problem {
  private constructor(
    readonly of: Case,
    readonly sizes: Sizes,
    private readonly operands: Operands,
    private readonly attrs: object,
    private readonly backend: Backend,
  ) {}

  static create(of: Case, sizes: Sizes, dtype: DType, backend: Backend): Problem {
    return Problem.from(of, sizes, hostValues(of, sizes), dtype, backend);
  }

  private static from(of: Case, sizes: Sizes, values: (Host | null)[], dtype: DType, backend: Backend): Problem {
    setDefaultBackend(backend);
    const operands: Operands = of.inputs(sizes).map((spec, i) => {
      const host = values[i];
      if (spec === null || host === null) return null;
      return keep(tensor(host, { shape: shapeOf(spec.axes, sizes), dtype: dtypeOf(spec, dtype), backend }));
    });
    if (of.derived) {
      const { op, attrs, from, to } = of.derived;
      const results = noGrad(() =>
        call(
          opNamed(op),
          from.map((i) => (i === null ? null : operands[i])),
          attrs,
        ),
      );
      for (const [i, k] of Object.entries(to)) {
        operands[Number(i)]?.dispose();
        operands[Number(i)] = results[k].detach();
      }
      for (const t of results) t.dispose();
    }
    return new Problem(of, sizes, operands, of.attrs(sizes), backend);
  }

  /** Runs the op once; its results are freed. */
  call(): void {
    scope(() => {
      this.results();
    });
  }

  private results(): Tensor[] {
    setDefaultBackend(this.backend);
    return noGrad(() => call(opNamed(this.of.op), this.operands, this.attrs));
  }

  /** The results (and what the op writes) of one call, at the indices that are picked along each axis. */
  async outputs(picked: Picks | null): Promise<Float64Array[]> {
    const results = scope(() => this.results());
    const written = (this.of.written?.(this.sizes) ?? []).map((i) => this.operands[i] as Tensor);
    const axes = this.of.outputs(this.sizes);
    try {
      const out: Float64Array[] = [];
      for (const [i, t] of [...results, ...written].entries()) {
        const values = await t.data();
        out.push(Float64Array.from(picked ? pick(values, axes[i], this.sizes, picked) : values));
      }
      return out;
    } finally {
      for (const t of results) t.dispose();
    }
  }

  /** Changes the first operand a little, so that the results are wrong: for tests of the check. */
  spoil(): void {
    const x = this.operands[0] as Tensor;
    this.operands[0] = noGrad(() => affine(x, 1.001, 0));
    x.dispose();
  }

  dispose(): void {
    for (const t of this.operands) t?.dispose();
  }

  /** The same case with only the picked entries of its axes, on the oracle: what the check computes. */
  static part(of: Case, sizes: Sizes, dtype: DType, picked: Picks, oracle: Backend): Problem {
    const specs = of.inputs(sizes);
    const values = hostValues(of, sizes).map((host, i) => {
      const spec = specs[i] as OperandSpec;
      if (host === null) return null;
      const own = pick(host, spec.axes, sizes, picked);
      // The oracle sees the rounded operands in float32.
      if (dtypeOf(spec, dtype) === 'float16') for (let k = 0; k < own.length; k++) own[k] = fromHalf(toHalf(own[k]));
      return own;
    });
    return Problem.from(of, pickedSizes(of, sizes), values, 'float32', oracle);
  }
}

/** Which entries are looked at, by axis. */
export type Picks = Readonly<Record<string, readonly number[]>>;

/** The first and the last entry of each axis that is picked from, and some between, at odd distances. */
export function picks(of: Case, sizes: Sizes): Picks {
  const out: Record<string, number[]> = {};
  for (const [axis, count] of Object.entries(of.picks)) {
    const size = sizes[axis];
    out[axis] =
      size <= count
        ? Array.from({ length: size }, (_, i) => i)
        : Array.from({ length: count }, (_, i) => Math.round((i * (size - 1)) / (count - 1 || 1)));
  }
  return out;
}

/** The entries of a row-major array at the picked indices of its axes. */
function pick<T extends Host | Float64Array>(values: T, axes: string, sizes: Sizes, picked: Picks): T {
  const lists = [...axes].map((axis) => picked[axis] ?? Array.from({ length: sizes[axis] }, (_, i) => i));
  const out = values.slice(0, sizeOf(lists.map((list) => list.length))) as T;
  let at = 0;
  const visit = (depth: number, offset: number): void => {
    if (depth === lists.length) {
      out[at++] = values[offset];
      return;
    }
    const size = sizes[axes[depth]];
    for (const i of lists[depth]) visit(depth + 1, offset * size + i);
  };
  visit(0, 0);
  return out;
}

let cached: { key: string; values: (Host | null)[] } | null = null;

/** The operands of a case on the host; those of the last case are kept, because several backends ask for them. */
export function hostValues(of: Case, sizes: Sizes): (Host | null)[] {
  const key = `${of.name} ${JSON.stringify(sizes)}`;
  if (cached?.key === key) return cached.values;
  const shared = new Map<string, Host>();
  const values = of.inputs(sizes).map((spec, i) => {
    if (spec === null) return null;
    const shape = shapeOf(spec.axes, sizes);
    const last = spec.content === 'classes' ? (sizes.C ?? WORDS) : (shape[shape.length - 1] ?? 1);
    // Many tensors of one kind hold the same values: making hundreds of millions of numbers takes longer than the test.
    const kind = `${spec.axes} ${spec.content} ${of.written ? Math.floor(i / sizes.T) : i}`;
    let host = shared.get(kind);
    if (!host) {
      host = fill(spec.content, sizeOf(shape), i, last);
      shared.set(kind, host);
    }
    return host;
  });
  cached = { key, values };
  return values;
}
