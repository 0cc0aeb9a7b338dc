/** What the tests of the wasm backend share: arrays in its memory, random numbers, comparison. */
import assert from 'node:assert/strict';
import { createBackend } from '../../backends/wasm/index.js';
import type { Backend, Spec, View } from '../../core/backend.js';
import { bytesOf, type DType } from '../../core/dtype.js';
import { contiguousStrides, isContiguous, sizeOf } from '../../core/layout.js';

/** A small deterministic generator (mulberry32), uniform in [0, 1). */
export function random(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** n numbers, roughly normal, exact in float32. */
export function normal(n: number, next: () => number, scale = 1): Float64Array {
  return Float64Array.from({ length: n }, () =>
    Math.fround(scale * Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next())),
  );
}

/** Runs `use` with a fresh backend and checks that it gives back all memory that views were made in. */
export async function withBackend<T>(threads: number, use: (b: Bench) => T | Promise<T>): Promise<T> {
  const backend = await createBackend({ threads });
  const bench = new Bench(backend);
  try {
    const result = await use(bench);
    bench.clear();
    assert.equal(backend.stats.liveBytes, 0);
    assert.equal(backend.stats.liveBlocks, 0);
    return result;
  } finally {
    await backend.dispose();
  }
}

/** Arrays on one backend, freed together. */
export class Bench {
  private views: View[] = [];
  constructor(readonly backend: Backend) {}

  clear(): void {
    for (const v of this.views) this.backend.free(v.block);
    this.views = [];
  }

  empty(shape: readonly number[], dtype: DType = 'float32'): View {
    const block = this.backend.alloc(sizeOf(shape) * bytesOf(dtype));
    const view = { block, dtype, shape, strides: contiguousStrides(shape), offset: 0 };
    this.views.push(view);
    return view;
  }

  array(shape: readonly number[], values: ArrayLike<number>, dtype: DType = 'float32'): View {
    const view = this.empty(shape, dtype);
    this.store(view, values);
    return view;
  }

  /** The same values, lying transposed (last two axes), with gaps, or both. */
  scattered(shape: readonly number[], values: ArrayLike<number>, how: Scatter, dtype: DType = 'float32'): View {
    if (how === 'contiguous') return this.array(shape, values, dtype);
    const rank = shape.length;
    const order = shape.map((_, i) => i);
    if (how !== 'gaps' && rank > 1) order.splice(rank - 2, 2, rank - 1, rank - 2);
    const gap = how === 'transposed' ? 0 : 1;
    const storage = order.map((axis) => shape[axis] + gap);
    const steps = contiguousStrides(storage);
    const strides = new Array<number>(rank);
    order.forEach((axis, i) => {
      strides[axis] = steps[i];
    });
    const whole = this.empty(storage, dtype);
    this.store(whole, new Float64Array(sizeOf(storage)).fill(7));
    const view = { ...whole, shape, strides, offset: gap * steps.reduce((a, b) => a + b, 0) };
    this.store(view, values);
    return view;
  }

  store(view: View, values: ArrayLike<number>): void {
    assert.equal(values.length, sizeOf(view.shape));
    this.backend.host?.store(view, Float64Array.from(values));
  }

  /** The bit patterns of a contiguous array of 16-bit floats. */
  bits(view: View): Uint16Array {
    return this.backend.host?.array(view.block, view.dtype, 0, sizeOf(view.shape)) as Uint16Array;
  }

  load(view: View): Float64Array {
    return this.backend.host?.load(view) as Float64Array;
  }

  /** Runs a kernel by its op's name; null where it declines. */
  call(name: string, inputs: readonly (View | null)[], attrs: object, outputs: readonly Spec[]): View[] | null {
    const kernel = this.backend.kernels.get(name);
    assert.ok(kernel, `no kernel ${name}`);
    const given = kernel.strided ? inputs : inputs.map((v) => v && this.contiguous(v));
    const run = kernel.plan(given, attrs, outputs);
    if (!run) return null;
    const views = outputs.map((o) => this.empty(o.shape, o.dtype));
    for (const v of views) this.store(v, new Float64Array(sizeOf(v.shape)).fill(Number.NaN));
    run(views);
    return views;
  }

  /** The outputs' values. */
  values(name: string, inputs: readonly (View | null)[], attrs: object, outputs: readonly Spec[]): Float64Array[] {
    const views = this.call(name, inputs, attrs, outputs);
    assert.ok(views, `${name} declined`);
    return views.map((v) => this.load(v));
  }

  private contiguous(v: View): View {
    if (isContiguous(v)) return v;
    const copy = this.empty(v.shape, v.dtype);
    this.backend.copy(v, copy);
    return copy;
  }
}

export const SCATTERS = ['contiguous', 'transposed', 'gaps', 'both'] as const;
export type Scatter = (typeof SCATTERS)[number];

export const f32 = (...shape: number[]): Spec => ({ dtype: 'float32', shape });

/** Largest |got - want| / max(1, |want|); NaN and Infinity must be equal. */
export function close(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number, what = ''): void {
  assert.equal(got.length, want.length, what);
  let worst = 0;
  let at = 0;
  for (let i = 0; i < got.length; i++) {
    if (Object.is(got[i], want[i]) || got[i] === want[i]) continue;
    const error = Math.abs(got[i] - want[i]) / Math.max(1, Math.abs(want[i]));
    if (!(error <= worst)) {
      worst = error;
      at = i;
    }
    if (Number.isNaN(error)) break;
  }
  assert.ok(worst <= tolerance, `${what} element ${at}: got ${got[at]}, wanted ${want[at]}, error ${worst}`);
}
