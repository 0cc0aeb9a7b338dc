/** AdamW and the norm of gradients on webgpu: many tensors in few launches, wherever they lie. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { adamwStep as createAdamwStep } from '../../backends/webgpu/kernels/adamwStep.js';
import { piecesOf } from '../../backends/webgpu/kernels/flat.js';
import { globalNorm as createGlobalNorm } from '../../backends/webgpu/kernels/globalNorm.js';
import { Memory } from '../../backends/webgpu/memory.js';
import type { Runtime } from '../../backends/webgpu/runtime.js';
import type { Backend, Kernel, View } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { resident } from '../../core/memory.js';
import { adamwStep, cast, globalNorm, narrow, slice, zeros } from '../../core/ops/index.js';
import { Generator } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { disposeBackend, loadBackend } from '../../index.js';
import { assertClose, assertSame } from '../support/compare.js';
import { gpuOrReason } from '../support/gpu.js';
import { nullGpu } from '../support/nullGpu.js';
import { readAll, type Values, withoutLeak } from '../support/values.js';

const found = await gpuOrReason();
const skip = typeof found === 'string' ? found : false;
const gpu = found as Backend;
const reference = await loadBackend('reference');

after(() => disposeBackend('webgpu'));

const EXACT = { relative: 0, absolute: 0 };
const OPTIONS = { beta1: 0.9, beta2: 0.98, eps: 1e-6, maxNorm: 1 };

interface State {
  readonly parameters: Tensor[];
  readonly m: Tensor[];
  readonly v: Tensor[];
}

type Make = (shape: readonly number[], values: Float32Array) => Tensor;

/** Two steps over parameters of such sizes; `make` says where they lie. What came out, and the launches of a step. */
async function train(
  backend: Backend,
  sizes: readonly number[],
  stateOf: (make: Make) => State,
): Promise<{ values: Record<string, Values>; launches: number }> {
  const before = setDefaultBackend(backend);
  try {
    return await withoutLeak(backend, async () => {
      const generator = new Generator(3);
      let launches = 0;
      const values = await readAll(() => {
        const make: Make = (shape, given) => tensor(given, { shape });
        const state = stateOf(make);
        let norm: Tensor | null = null;
        for (const step of [1, 2]) {
          const gradients = sizes.map((n) => tensor(generator.normal(n), { shape: [n] }));
          const start = backend.stats.launches;
          norm = globalNorm(gradients);
          adamwStep(state.parameters, gradients, state.m, state.v, norm, {
            ...OPTIONS,
            step,
            lr: sizes.map((_, i) => 1e-2 / (1 + i)),
            weightDecay: sizes.map((_, i) => (i % 2) * 0.1),
          });
          launches = backend.stats.launches - start;
        }
        const entries = Object.entries(state).flatMap(([name, list]) =>
          (list as Tensor[]).map((t, i) => [`${name}${i}`, t] as const),
        );
        return { ...Object.fromEntries(entries), norm: norm as Tensor };
      });
      return { values, launches };
    });
  } finally {
    setDefaultBackend(before);
  }
}

/** Trains on both and compares; the launches of a step on the GPU. */
async function compare(sizes: readonly number[], stateOf: (make: Make) => State): Promise<number> {
  const wanted = await train(reference, sizes, stateOf);
  const got = await train(gpu, sizes, stateOf);
  for (const [name, values] of Object.entries(wanted.values))
    assertSame(got.values[name], values, { relative: 2e-6, absolute: 2e-6 }, name);
  return got.launches;
}

const blank = (sizes: readonly number[]): State => {
  const generator = new Generator(5);
  return {
    parameters: sizes.map((n) => tensor(generator.normal(n), { shape: [n] })),
    m: sizes.map((n) => zeros([n])),
    v: sizes.map((n) => zeros([n])),
  };
};

describe('the optimiser on webgpu', { skip }, () => {
  it('updates hundreds of resident tensors in several slabs in 3 launches', async () => {
    // 20 MB: the first slab has 16.
    const sizes = [1_400_001, ...Array.from({ length: 300 }, (_, i) => 1 + ((i * 37) % 2000)), 0];
    assert.ok((await compare(sizes, () => resident(() => blank(sizes)))) <= 3);
  });

  it('updates tensors that have buffers of their own, a few a launch', async () => {
    const sizes = [5, 4096, 4097, 1, 10_000, 7, 12, 3, 9, 33, 2, 6];
    const launches = await compare(sizes, () => blank(sizes));
    assert.ok(launches > 4 && launches <= 2 + sizes.length, `${launches} launches`);
  });

  it('leaves what lies beside a tensor in the same memory alone', async () => {
    const sizes = [5, 8, 3, 4098];
    const total = 6000;
    await compare(sizes, () => {
      const generator = new Generator(9);
      const whole = [0, 1, 2].map((k) =>
        tensor(
          generator.normal(total).map((x) => (k === 2 ? x * x : x)),
          { shape: [total] },
        ),
      );
      // One after the other from an odd place on, the last ends before its memory does.
      const parts = whole.map((t) => {
        let at = 3;
        return sizes.map((n) => {
          at += n;
          return narrow(t, 0, at - n, n);
        });
      });
      return { parameters: [...parts[0]], m: parts[1], v: parts[2], whole } as State;
    });
  });

  it('takes gradients that are views, 16 bits wide or hold no number', async () => {
    const run = async (backend: Backend) => {
      const before = setDefaultBackend(backend);
      try {
        return await readAll(() => {
          const generator = new Generator(1);
          const wide = tensor(generator.normal(40), { shape: [4, 10] });
          const narrow16 = cast(tensor([1, 2, -3, 0.5]), 'bfloat16');
          const gradients = [slice(wide, 1, 3, 7), narrow16, tensor([Number.POSITIVE_INFINITY, 1])];
          const state = (value: number) => gradients.map((g) => zeros(g.shape).add(value));
          const [p, m, v] = [state(1), state(0), state(0)];
          const clip = globalNorm(gradients);
          adamwStep(p, gradients, m, v, clip, {
            ...OPTIONS,
            step: 1,
            lr: [0.1, 0.1, 0.1],
            weightDecay: [0, 0, 0],
          });
          return { p0: p[0], p1: p[1], p2: p[2], m0: m[0], clip, finite: globalNorm(gradients.slice(0, 2)) };
        });
      } finally {
        setDefaultBackend(before);
      }
    };
    const [wanted, got] = [await run(reference), await run(gpu)];
    assert.equal(got.clip.data[0], Number.POSITIVE_INFINITY);
    for (const name of Object.keys(wanted) as (keyof typeof wanted)[])
      assertSame(got[name], wanted[name], { relative: 1e-5, absolute: 1e-5 }, name);
  });

  it('writes float16 copies with the parameters, wherever both lie', async () => {
    const sizes = [8, 4097, 3, 20, 12];
    const before = setDefaultBackend(gpu);
    try {
      await withoutLeak(gpu, async () => {
        const kernel = gpu.kernels.get('adamwStep') as Kernel;
        const run = (state: State, halves: readonly (Tensor | null)[], scale: number, bad: boolean) => {
          const generator = new Generator(2);
          const gradients = sizes.map((n) =>
            tensor(
              generator.normal(n).map((g) => g * scale),
              { shape: [n] },
            ),
          );
          const norm = bad ? tensor(Number.NaN) : globalNorm(gradients);
          const attrs = {
            ...{ ...OPTIONS, scale, skipNonFinite: true, step: 1, count: sizes.length, copies: true },
            lr: sizes.map(() => 0.1),
            weightDecay: sizes.map(() => 0.1),
          };
          const inputs = [...state.parameters, ...gradients, ...state.m, ...state.v, norm, ...halves];
          // Below the op, which takes copies only where float16 is computed.
          kernel.plan(
            inputs.map((t) => t?.view() ?? null),
            attrs,
            [],
          )?.([]);
        };
        for (const place of [resident, <T>(fn: () => T): T => fn()]) {
          for (const bad of [false, true]) {
            const values = await readAll(() => {
              const state = place(() => blank(sizes));
              // The last lies at an odd place of a larger one, and one has no copy.
              const large = place(() => zeros([40], { dtype: 'float16' }));
              const halves = place(() =>
                sizes.map((n, i) =>
                  i === 3 ? null : i === 4 ? narrow(large, 0, 5, 12) : zeros([n], { dtype: 'float16' }),
                ),
              );
              run(state, halves, 32, bad);
              const wanted = state.parameters.map((p, i) => [`wanted${i}`, cast(p, 'float16')] as const);
              const got = halves.flatMap((t, i) => (t ? [[`got${i}`, t] as const] : []));
              return { large, ...Object.fromEntries(wanted), ...Object.fromEntries(got) };
            });
            const list = (name: string) => Array.from((values as Record<string, Values>)[name].data);
            for (const i of [0, 1, 2, 4]) {
              const wanted = list(`wanted${i}`);
              // What is cast anyway is right in any case.
              assertClose(list(`got${i}`), bad && i !== 4 ? wanted.map(() => 0) : wanted, EXACT, `copy ${i}`);
            }
            assert.deepEqual(list('large').slice(0, 5), [0, 0, 0, 0, 0]);
            assert.deepEqual(new Set(list('large').slice(17)), new Set([0]));
          }
        }
      });
    } finally {
      setDefaultBackend(before);
    }
  });

  it('compiles with float16 copies for a GPU that computes float16', async () => {
    const { rt, kernels, view } = await nullGpu({ half: true });
    const state = [0, 1, 2, 3].map(() => view([64, 3], 'float32'));
    const inputs = [...state, view([], 'float32'), view([64, 3], 'float16')];
    const attrs = {
      ...OPTIONS,
      scale: 2,
      skipNonFinite: true,
      step: 1,
      count: 1,
      copies: true,
      lr: [1],
      weightDecay: [0],
    };
    kernels.get('adamwStep')?.plan(inputs, attrs, [])?.([]);
    await rt.sync();
    assert.equal(rt.stats.launches, 1);
    await rt.dispose();
  });

  it('updates all of BEiT-3-base, and measures its gradients, in at most 10 launches', () => {
    // The memory that the parameters and the state would lie in, without the memory.
    const limits = {
      maxBufferSize: 2 ** 32,
      maxStorageBufferBindingSize: 2 ** 31,
      maxStorageBuffersPerShaderStage: 10,
    };
    const device = { limits, createBuffer: () => ({ destroy: () => {} }) } as unknown as GPUDevice;
    const memory = new Memory(
      device,
      () => {},
      () => {},
    );
    const launches: string[] = [];
    const rt = {
      device,
      memory,
      facts: { half: false },
      kernel: (key: string) => () => launches.push(key),
      copyBytes: () => {},
      write: () => {},
    } as unknown as Runtime;
    const D = 768;
    const way = [
      D,
      D * D,
      D,
      D * D,
      D,
      D * D,
      D,
      D * D,
      D,
      D,
      D,
      D,
      4 * D * D,
      4 * D,
      4 * D,
      4 * D,
      4 * D * D,
      D,
      D,
      D,
    ];
    const sizes = [
      64_010 * D,
      3 * 256 * D,
      D,
      D,
      D,
      197 * D,
      1024 * D,
      ...Array(24).fill(way).flat(),
      D,
      D,
      D * D,
      D,
    ] as number[];
    assert.ok(sizes.reduce((a, b) => a + b) > 2.2e8 && sizes.length > 450);
    const view = (n: number, stays: boolean): View => ({
      block: memory.alloc(4 * n, stays),
      dtype: 'float32',
      shape: [n],
      strides: [1],
      offset: 0,
    });
    const parameters = sizes.map((n) => view(n, true));
    const moments = sizes.map((n) => [view(n, true), view(n, true)]);
    const gradients = sizes.map((n) => view(n, false));
    const norm = view(1, false);
    createGlobalNorm(rt).plan(gradients, {}, [{ dtype: 'float32', shape: [] }])?.([norm]);
    const attrs = { ...OPTIONS, step: 1, count: sizes.length, lr: sizes.map(() => 1), weightDecay: sizes.map(() => 0) };
    const inputs = [...parameters, ...gradients, ...moments.map(([m]) => m), ...moments.map(([, v]) => v), norm];
    createAdamwStep(rt).plan(inputs, attrs, [])?.([]);
    assert.ok(launches.length <= 10, launches.join(', '));
  });

  it('deals tensors of any size out to a few pieces that miss nothing', () => {
    const rt = {
      device: { limits: { maxBufferSize: 2 ** 32, maxStorageBufferBindingSize: 2 ** 31 } },
    } as unknown as Runtime;
    const block = { bytes: 0, slab: null };
    const of = (size: number, dtype: 'float32' | 'float16' = 'float32') => ({
      view: { block, dtype, shape: [size], strides: [1], offset: 0 },
      size,
    });
    // A word table, matrices and vectors of a large model; and a table that is no float32.
    const sizes = [64_010 * 1024, ...Array.from({ length: 300 }, () => 1024 * 4096), 7, 0, 1023];
    const tensors = [...sizes.map((n) => of(n)), of(64_010 * 1024, 'float16')];
    const pieces = piecesOf(rt, tensors, 4);
    assert.ok(pieces.length <= 10, `${pieces.length} pieces`);
    const seen = new Map<object, number>();
    for (const piece of pieces) {
      assert.ok(piece.size * 4 <= 2 ** 31);
      let end = 0;
      for (const { tensor: t, first, size, at } of piece.parts) {
        assert.equal(first, seen.get(t) ?? 0, 'parts follow each other');
        assert.ok(at >= end && at % 4 === 0 && first % 4 === 0 && size > 0);
        end = at + size;
        assert.ok(end <= piece.size);
        seen.set(t, first + size);
      }
    }
    for (const t of tensors) assert.equal(seen.get(t) ?? 0, t.size);
    assert.deepEqual(
      pieces.map((p) => p.direct),
      [true, ...Array(pieces.length - 1).fill(false)],
    );
  });
});
