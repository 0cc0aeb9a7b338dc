/** The gpu.js backend in Node, where its programs run on the processor. */
import assert from 'node:assert/strict';
import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import '../../index.js';
import { disposeBackend, loadBackend } from '../../backends/index.js';
import type { Backend } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { cumsum } from '../../core/ops/cumsum.js';
import {
  add,
  cast,
  cat,
  equal,
  exp,
  gatherRows,
  less,
  linear,
  matmul,
  maximum,
  mul,
  relu,
  softmax,
  sum,
  transpose,
  where,
} from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { testOp } from '../conformance/report.js';
import { packageRoot } from '../support/fixtures.js';
import { Oracle } from '../support/run.js';
import { readAll, readOne, withoutLeak } from '../support/values.js';

/** One op for each kind of kernel. */
const OPS = [
  'add',
  'attention',
  'cat',
  'contiguous',
  'gatherRows',
  'gelu',
  'layerNorm',
  'less',
  'linear',
  'logSoftmax',
  'matmul',
  'max',
  'multiwayLinear',
  'softmax',
  'sum',
  'tanh',
  'where',
];

const EFFORT = { runs: 5, layouts: 'some', grids: 'usual' } as const;

describe('gpujs in Node', () => {
  let backend: Backend;
  let oracle: Oracle;
  before(async () => {
    backend = await loadBackend('gpujs');
    oracle = new Oracle(await loadBackend('reference'));
    setDefaultBackend(backend);
  });
  after(async () => {
    setDefaultBackend(null);
    await disposeBackend('gpujs');
    await disposeBackend('reference');
  });

  /** The values of a tensor that `fn` makes; nothing is left over. */
  const values = async (fn: () => Tensor): Promise<number[]> => {
    const result = await withoutLeak(backend, () => readOne(fn));
    return Array.from(result.data);
  };

  for (const op of OPS) {
    it(`${op} is that of the reference`, async () => {
      const { failures, compared } = await testOp(op, backend, oracle, EFFORT);
      assert.equal(failures.join('\n'), '');
      assert.ok((compared.samples ?? 0) > 0);
    });
  }

  it('says once, with its name, that an op runs as the reference does', async () => {
    const warnings: string[] = [];
    const listen = (warning: Error) => warnings.push(warning.message);
    // Warnings come a turn later: first those of other tests.
    const turn = () => new Promise((resolve) => setImmediate(resolve));
    await turn();
    process.on('warning', listen);
    try {
      const twice = () => cumsum(cumsum(tensor([1, 2, 3]), 0), 0);
      assert.deepEqual(await values(twice), [1, 4, 10]);
      assert.deepEqual(await values(twice), [1, 4, 10]);
      // What has a kernel says nothing.
      assert.deepEqual(await values(() => mul(tensor([1, 2]), tensor([3, 4]))), [3, 8]);
      await turn();
    } finally {
      process.off('warning', listen);
    }
    assert.equal(warnings.length, 1, warnings.join('\n'));
    assert.match(warnings[0], /no kernel for cumsum on float32; it runs as the reference does/);
  });

  it('a later call leaves the result of an earlier one as it is', async () => {
    const got = await readAll(() => {
      const first = add(tensor([1, 2, 3]), tensor([1, 1, 1]));
      return { first, second: add(first, first), third: add(tensor([9, 9, 9]), first) };
    });
    assert.deepEqual(
      Object.values(got).map(({ data }) => Array.from(data)),
      [
        [2, 3, 4],
        [4, 6, 8],
        [11, 12, 13],
      ],
    );
  });

  it('writing after a computation is seen by the next one', async () => {
    const x = tensor([1, 2]);
    assert.deepEqual(await values(() => mul(x, x)), [1, 4]);
    backend.write(x.storage.block, 4, new Uint8Array(Float32Array.of(5).buffer));
    assert.deepEqual(await values(() => mul(x, x)), [1, 25]);
    x.dispose();
  });

  it('integers that are no floats are compared as integers', async () => {
    const large = [2 ** 24 + 1, -(2 ** 31), 7];
    const got = await values(() =>
      equal(tensor(large, { dtype: 'int32' }), tensor([2 ** 24, -(2 ** 31) + 1, 7], { dtype: 'int32' })),
    );
    assert.deepEqual(got, [0, 0, 1]);
    assert.deepEqual(await values(() => cast(add(tensor(large, { dtype: 'int32' }), 1), 'int32')), [
      2 ** 24 + 2,
      -(2 ** 31) + 1,
      8,
    ]);
  });

  it('NaN and infinities', async () => {
    const odd = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -1];
    assert.deepEqual(await values(() => less(tensor(odd), tensor([0, 1, 1, Number.NaN, 0]))), [0, 0, 1, 0, 1]);
    assert.deepEqual(await values(() => maximum(tensor(odd), tensor([1, 1, 1, Number.NaN, 0]))), [
      Number.NaN,
      Number.POSITIVE_INFINITY,
      1,
      Number.NaN,
      0,
    ]);
    assert.deepEqual(await values(() => where(less(tensor(odd), 0), Number.NEGATIVE_INFINITY, tensor(odd))), [
      Number.NaN,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      0,
      Number.NEGATIVE_INFINITY,
    ]);
    assert.deepEqual(await values(() => exp(tensor(odd))), [
      Number.NaN,
      Number.POSITIVE_INFINITY,
      0,
      1,
      Math.fround(Math.exp(-1)),
    ]);
  });

  it('empty tensors', async () => {
    const none = () => tensor([], { shape: [0, 3] });
    assert.deepEqual(await values(() => relu(none())), []);
    assert.deepEqual(await values(() => softmax(none())), []);
    assert.deepEqual(await values(() => sum(none(), 0)), [0, 0, 0]);
    assert.deepEqual(await values(() => matmul(transpose(none()), none())), new Array(9).fill(0));
    assert.deepEqual(await values(() => linear(none(), tensor([1, 2, 3], { shape: [1, 3] }))), []);
    assert.deepEqual(await values(() => cat([none(), tensor([1, 2, 3], { shape: [1, 3] })])), [1, 2, 3]);
  });

  it('an id outside of the table is refused', () => {
    const table = tensor([1, 2, 3, 4], { shape: [2, 2] });
    const ids = tensor([0, 2], { dtype: 'int32' });
    assert.throws(() => gatherRows(table, ids), /expected ids from 0 to 1, got 2/);
    table.dispose();
    ids.dispose();
  });
});

it('without the package it says what to install', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'azulejo-gpujs-'));
  try {
    for (const room of ['core', 'backends']) {
      await cp(join(packageRoot, 'dist', room), join(folder, 'dist', room), { recursive: true });
    }
    await symlink(join(packageRoot, 'package.json'), join(folder, 'package.json'));
    const { createBackend } = await import(join(folder, 'dist/backends/gpujs/index.js'));
    await assert.rejects(createBackend(), { name: 'InputError', message: /npm install gpu\.js/ });
  } finally {
    await rm(folder, { recursive: true });
  }
});
