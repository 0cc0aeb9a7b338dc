/** The ops that are products on the GPU: across the edges of tiles, at any split, with gradients, and in how many launches. */
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { disposeBackend, loadBackend } from '../../backends/index.js';
import type { Attrs, Backend } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { call } from '../../core/dispatch.js';
import type { DType } from '../../core/dtype.js';
import { scope } from '../../core/memory.js';
import { definedOps, type OpDefinition, type Sample } from '../../core/op.js';
import { gpuOrReason } from '../support/gpu.js';
import { compareOn, Oracle } from '../support/run.js';
import { LAYOUTS, type LayoutName, operands } from '../support/samples.js';

const found = await gpuOrReason();
const skip = typeof found === 'string' ? found : false;
const gpu = found as Backend;
const oracle = new Oracle(await loadBackend('reference'));

after(() => disposeBackend('webgpu'));

const opOf = (name: string): OpDefinition<Attrs> => {
  const op = definedOps().get(name);
  if (!op) throw new Error(`there is no op ${name}`);
  return op;
};

const shapes = (...list: (readonly number[] | null)[]) => list.map((shape) => shape && { shape });

async function compare(
  name: string,
  sample: Sample<Attrs>,
  layout: LayoutName = 'contiguous',
  dtype: DType = 'float32',
) {
  const compared = await compareOn(oracle, gpu, { op: opOf(name), sample, dtype, layout, seed: 5 }, 4);
  assert.ok(compared > 0);
}

/** Launches of one call. */
function launches(name: string, sample: Sample<Attrs>): number {
  const before = setDefaultBackend(gpu);
  try {
    return scope(() => {
      const inputs = operands({ sample, dtype: 'float32', layout: 'contiguous', seed: 1 });
      const start = gpu.stats.launches;
      call(opOf(name), inputs, sample.attrs);
      return { count: gpu.stats.launches - start };
    }).count;
  } finally {
    setDefaultBackend(before);
  }
}

describe('ops that are products', { skip }, () => {
  it('multiply matrices of any layout, with broadcast batches and of any dtype', async () => {
    const cases: [number[], number[]][] = [
      [
        [70, 33],
        [33, 65],
      ],
      [
        [2, 3, 19, 8],
        [8, 36],
      ],
      [
        [3, 1, 17, 20],
        [2, 20, 40],
      ],
      [
        [4, 1, 24],
        [24, 12],
      ],
      [
        [5, 0],
        [0, 6],
      ],
      [
        [0, 3, 5],
        [5, 4],
      ],
      [
        [2, 3, 40],
        [2, 40, 1],
      ],
      [
        [2, 90, 40],
        [2, 40, 1],
      ],
      [
        [3, 1, 36],
        [36, 70],
      ],
      [
        [3, 1, 70],
        [3, 70, 20],
      ],
    ];
    for (const [a, b] of cases)
      for (const layout of LAYOUTS) await compare('matmul', { inputs: shapes(a, b), attrs: {} }, layout);
    for (const dtype of ['int32', 'uint8', 'bool', 'float16', 'bfloat16'] as const)
      await compare('matmul', { inputs: shapes([5, 9], [9, 7]), attrs: {} }, 'transposed', dtype);
  });

  it('map rows, few and many, with bias, GELU, its slope and a residual', async () => {
    for (const rows of [0, 1, 5, 40, 133]) {
      for (const [k, n] of [
        [64, 48],
        [37, 29],
      ]) {
        const inputs = shapes([rows, k], [n, k], [n], [rows, n]);
        await compare('linear', { inputs, attrs: { activation: 'gelu', keep: true } });
        await compare('linear', {
          inputs: [...inputs.slice(0, 2), null, null],
          attrs: { activation: 'none', keep: false },
        });
      }
    }
    await compare('linear', { inputs: shapes([3, 0], [5, 0], [5], null), attrs: { activation: 'gelu', keep: false } });
  });

  it('use two weights beside each other at any split', async () => {
    for (const split of [1, 17, 39]) {
      for (const [k, n] of [
        [32, 44],
        [19, 13],
      ]) {
        const inputs = shapes([3, 40, k], [n, k], [n], [n, k], [n], [3, 40, n]);
        await compare('multiwayLinear', { inputs, attrs: { split, activation: 'gelu', keep: true } });
        await compare('multiwayLinearBackwardInput', { inputs: shapes([3, 40, n], [n, k], [n, k]), attrs: { split } });
        for (const bias of [true, false])
          await compare('multiwayLinearBackwardWeights', {
            inputs: shapes([3, 40, n], [3, 40, k]),
            attrs: { split, bias },
          });
      }
    }
    await compare('multiwayLinear', {
      inputs: shapes([0, 5, 8], [4, 8], [4], [4, 8], [4], null),
      attrs: { split: 2, activation: 'none', keep: false },
    });
    await compare('multiwayLinearBackwardWeights', {
      inputs: shapes([0, 5, 8], [0, 5, 4]),
      attrs: { split: 2, bias: true },
    });
  });

  it('sum up weights and biases over many rows, in slices', async () => {
    for (const [n, k] of [
      [20, 24],
      [7, 1],
      [1, 9],
    ]) {
      await compare('linearBackwardWeights', { inputs: shapes([1500, n], [1500, k]), attrs: { bias: true } });
    }
    await compare('linearBackwardWeights', { inputs: shapes([0, 4], [0, 8]), attrs: { bias: true } });
    const inputs = shapes([2, 800, 20], [2, 800, 24]);
    await compare('multiwayLinearBackwardWeights', { inputs, attrs: { split: 300, bias: true } });
  });

  it('take one launch, or two where the depth is cut', () => {
    const linear = shapes([3, 40, 32], [44, 32], [44], [3, 40, 44]);
    assert.equal(launches('linear', { inputs: linear, attrs: { activation: 'gelu', keep: true } }), 1);
    const ways = shapes([3, 40, 32], [44, 32], [44], [44, 32], [44], [3, 40, 44]);
    assert.equal(launches('multiwayLinear', { inputs: ways, attrs: { split: 9, activation: 'gelu', keep: true } }), 1);
    const weights = { inputs: shapes([3, 40, 44], [3, 40, 32]), attrs: { split: 9, bias: true } };
    assert.equal(launches('multiwayLinearBackwardWeights', weights), 1);
    const deep = { inputs: shapes([1500, 20], [1500, 24]), attrs: { bias: true } };
    assert.equal(launches('linearBackwardWeights', deep), 2);
    assert.equal(launches('matmul', { inputs: shapes([2, 3, 19, 8], [8, 36]), attrs: {} }), 1);
  });

  it('leave the choice alone on a GPU in software', async () => {
    assert.equal(await gpu.tune?.(), 0);
  });
});
