/** Kernels of the webgpu backend beyond the samples of their ops: large and odd sizes, order, faults, half floats. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import type { Backend } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import type { DType } from '../../core/dtype.js';
import { scope } from '../../core/memory.js';
import { definedOps } from '../../core/op.js';
import {
  amax,
  argmax,
  cast,
  cat,
  crossEntropy,
  cumsum,
  expand,
  gather,
  gatherRows,
  max,
  pad,
  prod,
  scatterAdd,
  scatterAddRows,
  slice,
  sort,
  sum,
  topk,
  transpose,
  zeros,
} from '../../core/ops/index.js';
import { Generator } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { disposeBackend, loadBackend } from '../../index.js';
import { assertSame } from '../support/compare.js';
import { gpuOrReason } from '../support/gpu.js';
import { nullGpu } from '../support/nullGpu.js';
import { layoutsOf, operands, sampledOps } from '../support/samples.js';
import type { Tolerance } from '../support/tolerance.js';
import { readAll, readOne, withoutLeak } from '../support/values.js';

const found = await gpuOrReason();
const skip = typeof found === 'string' ? found : false;
const gpu = found as Backend;
const reference = await loadBackend('reference');

after(() => disposeBackend('webgpu'));

/** Runs `make` on a backend; it gets the same random numbers everywhere. */
async function on<K extends string>(backend: Backend, make: (random: Random) => Record<K, Tensor>) {
  const before = setDefaultBackend(backend);
  try {
    return await withoutLeak(backend, () => readAll(() => make(randomly(new Generator(7)))));
  } finally {
    setDefaultBackend(before);
  }
}

interface Random {
  floats(...shape: number[]): Tensor;
  ids(below: number, ...shape: number[]): Tensor;
}

const sizeOf = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

const randomly = (generator: Generator): Random => ({
  floats: (...shape) => tensor(generator.normal(sizeOf(shape)), { shape }),
  ids: (below, ...shape) =>
    tensor(
      Array.from(generator.uniform(sizeOf(shape)), (u) => Math.floor(u * below)),
      { shape, dtype: 'int32' },
    ),
});

/** Runs `make` on the GPU and on the reference and compares. */
async function compare(make: (random: Random) => Record<string, Tensor>, tolerance: Tolerance): Promise<void> {
  const wanted = await on(reference, make);
  const got = await on(gpu, make);
  for (const name of Object.keys(wanted)) assertSame(got[name], wanted[name], tolerance, name);
}

const CLOSE = { relative: 2e-5, absolute: 1e-3 };
const EXACT = { relative: 0, absolute: 0 };

describe('kernels of webgpu', { skip }, () => {
  it('are there for every op that is not made of others', () => {
    const without = [...definedOps().values()].filter(
      (op) => !gpu.kernels.has(op.name) && !op.expr && !op.decompose && !op.view,
    );
    assert.deepEqual(
      without.map((op) => op.name),
      [],
    );
  });

  it('reduce long lines, many lines and everything, in one pass or two', () =>
    compare((random) => {
      const [wide, tall, cube] = [random.floats(3, 70_001), random.floats(5003, 24), random.floats(37, 41, 43)];
      return {
        last: sum(wide, 1),
        first: sum(tall, 0),
        all: sum(wide),
        middle: sum(cube, 1),
        outer: sum(cube, [0, 2], true),
        transposed: sum(transpose(cube, 0, 2), [0, 1]),
        strided: sum(tall.slice(1, 3, 20, 4), 0),
      };
    }, CLOSE));

  it('find maxima and their places, in one pass or two, of equal ones the first', () =>
    compare((random) => {
      const [wide, tall, few] = [random.floats(2, 70_001), random.floats(5003, 9), random.ids(5, 2, 40_000)];
      const [a, b, c] = [max(wide, 1), max(tall, 0, true), max(few, 1)];
      return {
        a: a.values,
        aAt: a.indices,
        b: b.values,
        bAt: b.indices,
        c: c.values,
        cAt: c.indices,
        flat: argmax(tall),
        bytes: max(few.cast('uint8'), 1).values,
        all: amax(tall),
      };
    }, EXACT));

  it('add integers exactly and follow NaN and infinities through two passes', async () => {
    const ones = Array.from({ length: 50_000 }, (_, i) => (i === 7 ? 2 ** 30 : i % 3));
    const odd = (value: number) => Array.from({ length: 50_000 }, (_, i) => (i === 31_234 ? value : i % 2));
    await compare(
      () => ({
        whole: sum(tensor(ones, { shape: [50_000], dtype: 'int32' })),
        nan: sum(tensor(odd(Number.NaN), { shape: [50_000] })),
        infinite: sum(tensor(odd(Number.NEGATIVE_INFINITY), { shape: [50_000] })),
        nanAt: argmax(tensor(odd(Number.NaN), { shape: [50_000] })),
        product: prod(tensor(odd(0), { shape: [50_000] })),
        bytes: sum(
          tensor(
            ones.map((v) => v % 256),
            { shape: [5, 10_000], dtype: 'uint8' },
          ),
          1,
        ),
      }),
      EXACT,
    );
  });

  it('add rows of any width to the rows that ids name, and write the others', async () => {
    for (const width of [1, 6, 64, 260, 263]) {
      await compare(
        (random) => ({
          // Every row a few times, and one row far more often than a chain is followed.
          even: scatterAddRows(random.floats(300, width), random.ids(900, 300), 1000),
          one: scatterAddRows(random.floats(300, width), random.ids(2, 300), 3),
        }),
        CLOSE,
      );
    }
    await compare(
      (random) => ({
        bytes: scatterAddRows(random.ids(3, 40, 5).cast('uint8'), random.ids(7, 40), 7),
        axis0: scatterAdd(random.floats(30, 7), 0, random.ids(11, 30, 7), [11, 9]),
        axis1: scatterAdd(random.floats(5, 200), 1, random.ids(4, 5, 200), [5, 4]),
      }),
      CLOSE,
    );
  });

  it('add rows in the same order every time', async () => {
    const run = () => on(gpu, (random) => ({ y: scatterAddRows(random.floats(700, 70), random.ids(15, 700), 16) }));
    const first = await run();
    for (let i = 0; i < 3; i++) assert.deepEqual(Array.from((await run()).y.data), Array.from(first.y.data));
    // From the first to the last: 1 is lost beside 1e8. A short chain and a long one, a few columns and many.
    for (const [length, width] of [
      [3, 1],
      [3, 70],
      [50, 1],
      [50, 70],
    ]) {
      const values = Array.from({ length }, (_, i) => [1, 1e8, -1e8][i] ?? 0).flatMap((v) =>
        Array<number>(width).fill(v),
      );
      const { y } = await on(gpu, () => ({
        y: scatterAddRows(
          tensor(values, { shape: [length, width] }),
          tensor(Array(length).fill(0), { dtype: 'int32' }),
          1,
        ),
      }));
      assert.deepEqual([...new Set(Array.from(y.data))], [0], `${length} rows of ${width}`);
    }
  });

  it('say which id is outside, at the next read and in the words of the reference', async () => {
    const calls: Record<string, () => Tensor> = {
      gatherRows: () => gatherRows(tensor([1, 2, 3], { shape: [3, 1] }), tensor([0, 3, 1], { dtype: 'int32' })),
      'gatherRows of nothing': () => gatherRows(tensor([], { shape: [4, 0] }), tensor([-1], { dtype: 'int32' })),
      scatterAddRows: () => scatterAddRows(tensor([1, 2, 3]), tensor([0, -2, 1], { dtype: 'int32' }), 3),
      gather: () =>
        gather(tensor([1, 2, 3, 4], { shape: [2, 2] }), 1, tensor([0, 9], { shape: [2, 1], dtype: 'int32' })),
      scatterAdd: () => scatterAdd(tensor([1, 2]), 0, tensor([0, 5], { dtype: 'int32' }), [4]),
    };
    const messageOn = async (backend: Backend, make: () => Tensor): Promise<string> => {
      const before = setDefaultBackend(backend);
      try {
        await readOne(make);
        return 'no error';
      } catch (error) {
        return (error as Error).message;
      } finally {
        setDefaultBackend(before);
      }
    };
    for (const [what, make] of Object.entries(calls)) {
      const wanted = await messageOn(reference, make);
      assert.match(wanted, /expected (ids|indices) from 0 to/, what);
      assert.equal(await messageOn(gpu, make), wanted, what);
    }
    assert.equal(await messageOn(gpu, () => gatherRows(tensor([1]), tensor([0], { dtype: 'int32' }))), 'no error');
  });

  it('run along long lines: running sums, the largest few, all in order', async () => {
    await compare(
      (random) => ({
        sums: cumsum(random.floats(2, 1000), 1),
        columns: cumsum(random.floats(300, 3), 0),
        few: topk(random.floats(3, 5000), 7).values,
        fewAt: topk(random.floats(3, 5000), 7, { largest: false }).indices,
        equal: topk(random.ids(3, 2, 500), 20).indices,
        order: sort(random.floats(2, 300)).indices,
        bytes: sort(random.ids(200, 70).cast('uint8'), { descending: true }).values,
      }),
      CLOSE,
    );
    await compare(
      () => ({ nan: topk(tensor([1, Number.NaN, -0, 0, 3].concat(Array(95).fill(-1)), { shape: [100] }), 5).indices }),
      EXACT,
    );
  });

  it('place elements of any size', async () => {
    for (const dtype of ['bool', 'uint8', 'bfloat16', 'float16', 'int32', 'float32'] as const) {
      await compare((random) => {
        const x = cast(random.ids(2, 5, 7), dtype);
        const turned = transpose(cast(random.ids(2, 3, 5), dtype));
        return {
          cat: cat([x, slice(x, 1, 1, 4), turned], 1),
          many: cat(Array(11).fill(turned), 1),
          blocks: cat([x, x, slice(x, 0, 1, 3)], 0),
          inner: cat([expand(slice(x, 0, 0, 1), [4, 7]), slice(x, 0, 1, 5)], -1),
          pad: pad(x, [
            [1, 2],
            [3, 0],
          ]),
          rows: gatherRows(x, random.ids(5, 9)),
        };
      }, EXACT);
    }
  });

  it('join a few tensors in one launch', () => {
    const before = setDefaultBackend(gpu);
    try {
      scope(() => {
        const [a, b] = [zeros([3, 4, 5]), zeros([3, 2, 5])];
        const start = gpu.stats.launches;
        cat([a, b, a], 1);
        assert.equal(gpu.stats.launches - start, 1);
      });
    } finally {
      setDefaultBackend(before);
    }
  });

  it('cross entropy over 64,010 words, of a few rows and of many', async () => {
    for (const [rows, classes] of [
      [3, 64_010],
      [700, 33],
    ]) {
      for (const labelSmoothing of [0, 0.1]) {
        await compare(
          (random) => {
            const logits = random.floats(rows, classes).requireGrad();
            const loss = crossEntropy(logits, random.ids(classes, rows), { labelSmoothing, ignoreIndex: 2 });
            loss.backward();
            const { grad } = logits;
            assert.ok(grad);
            logits.grad = null;
            return { loss: loss.detach(), grad };
          },
          { relative: 2e-5, absolute: 2e-6 },
        );
      }
    }
  });

  it('compile for a GPU that computes float16', async () => {
    const { rt, kernels, view } = await nullGpu({ half: true });
    const backend = await loadBackend('reference');
    const before = setDefaultBackend(backend);
    let started = 0;
    try {
      for (const { op, samples } of sampledOps()) {
        const kernel = kernels.get(op.name);
        if (!kernel || layoutsOf(op).length === 0) continue;
        for (const sample of samples) {
          const inputs = operands({ sample, dtype: 'float16', layout: 'contiguous', seed: 1 });
          try {
            const specs = op.infer(inputs, sample.attrs);
            const views = inputs.map((x) => x && view(x.shape, x.dtype as DType));
            kernel.plan(views, sample.attrs, specs)?.(specs.map((s) => view(s.shape, s.dtype)));
            started++;
          } finally {
            for (const x of inputs) x?.dispose();
          }
        }
      }
      await rt.sync();
    } finally {
      setDefaultBackend(before);
    }
    assert.ok(started > 60, `${started} kernels started`);
    assert.ok(rt.stats.launches > started / 2);
    await rt.dispose();
  });
});
