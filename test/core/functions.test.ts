/** Functions and edge cases that the operator dumps do not hold, against PyTorch (test/reference/ops.py). */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { propagate } from '../../autograd/backward.js';
import { takeGrad } from '../../autograd/grad.js';
import { edgeOf } from '../../autograd/node.js';
import { keep } from '../../core/memory.js';
import * as ops from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { readAll, testEach } from '../support/backends.js';
import { assertClose } from '../support/compare.js';
import { readJson } from '../support/fixtures.js';
import { PYTORCH } from '../support/tolerance.js';

interface Stored {
  readonly shape: readonly number[];
  readonly float: boolean;
  readonly values: readonly (number | string)[];
}

interface Case {
  readonly inputs: readonly Stored[];
  readonly outputs: readonly Stored[];
  readonly upstream: readonly Stored[];
  readonly grads: readonly (Stored | null)[];
}

type Result = Tensor | readonly Tensor[];
const both = ({ values, indices }: { values: Tensor; indices: Tensor }): Tensor[] => [values, indices];

const FUNCTIONS: Readonly<Record<string, (...inputs: Tensor[]) => Result>> = {
  'abs at 0': (x) => ops.abs(x),
  'clamp at its bounds': (x) => ops.clamp(x, { min: -1, max: 2 }),
  'clamp below alone': (x) => ops.clamp(x, { min: 0.5 }),
  'relu at 0': (x) => ops.relu(x),
  'sqrt at 0': (x) => ops.sqrt(x),
  'softplus far out': (x) => ops.softplus(x),
  'gelu far out': (x) => ops.gelu(x),
  'sigmoid far out': (x) => ops.sigmoid(x),
  'pow by 0': (x) => ops.pow(x, 0),
  'pow by 3 of negatives': (x) => ops.pow(x, 3),
  'pow by a tensor': (x, p) => ops.pow(x, p),
  'maximum of equals': (a, b) => ops.maximum(a, b),
  'minimum of equals': (a, b) => ops.minimum(a, b),
  'minimum with NaN': (a, b) => ops.minimum(a, b),
  'max of equals': (x) => both(ops.max(x, 1)),
  'max with NaN': (x) => both(ops.max(x, 0)),
  'min along the first axis': (x) => both(ops.min(x, 0)),
  'argmax of all': (x) => ops.argmax(x),
  argmin: (x) => ops.argmin(x, 1, true),
  'amax of equals': (x) => ops.amax(x),
  'amax over outer axes': (x) => ops.amax(x, [2, 0], true),
  amin: (x) => ops.amin(x, 1),
  'mean of all': (x) => ops.mean(x),
  variance: (x) => ops.var(x, [0, -1]),
  'variance kept': (x) => ops.variance(x, 1, { correction: 0, keepDims: true }),
  'std at 0': (x) => ops.std(x, 1, { correction: 0 }),
  'norm at 0': (x) => ops.norm(x, 1),
  'prod with zeros': (x) => ops.prod(x, 1),
  'prod of all': (x) => ops.prod(x),
  'logsumexp over two axes': (x) => ops.logsumexp(x, [0, 2]),
  'logsumexp of infinities': (x) => ops.logsumexp(x, 1),
  'cumsum along the first axis': (x) => ops.cumsum(x, 0),
  'softmax along the first axis': (x) => ops.softmax(x, 0),
  'log softmax along a middle axis': (x) => ops.logSoftmax(x, 1),
  'matmul of vectors': (a, b) => ops.matmul(a, b),
  'matmul of a vector and a matrix': (a, b) => ops.matmul(a, b),
  'matmul of a batch and a vector': (a, b) => ops.matmul(a, b),
  'matmul of a batch and a matrix': (a, b) => ops.matmul(a, b),
  'matmul of a vector and a batch': (a, b) => ops.matmul(a, b),
  'einsum trace-like': (a, b) => ops.einsum('ij,ij->', a, b),
  'einsum without arrow': (a, b) => ops.einsum('ik,kj', a, b),
  'einsum of three': (a, b, c) => ops.einsum('bi, ij, bj -> b', a, b, c),
  'einsum with dots': (a, b) => ops.einsum('...ij,...jk->...ik', a, b),
  'einsum sums alone': (a) => ops.einsum('ijk->j', a),
  'einsum outer': (a, b) => ops.einsum('bi,bj->bji', a, b),
  flip: (x) => ops.flip(x, [0, 2]),
  stack: (a, b) => ops.stack([a, b], 1),
  chunk: (x) => ops.chunk(x, 3, 1)[1],
  select: (x) => ops.select(x, 1, -1),
  'pad with a value': (x) =>
    ops.pad(
      x,
      [
        [0, 2],
        [1, 0],
      ],
      -1.5,
    ),
  triu: (x) => ops.triu(x, 1),
  'tril below': (x) => ops.tril(x, -1),
  'gather fewer rows': (x, k) => ops.gather(x, 0, k),
  'index select of columns': (x, k) => ops.indexSelect(x, 2, k),
  'one hot': (k) => ops.oneHot(k, 5),
  'topk smallest along the first axis': (x) => both(ops.topk(x, 2, { axis: 0, largest: false })),
  sort: (x) => both(ops.sort(x)),
  'sort descending': (x) => both(ops.sort(x, { axis: 0, descending: true })),
  'where with numbers': (x) => ops.where(ops.greater(x, 0), x, -2),
  'conv2d without bias': (x, w) => ops.conv2d(x, w),
  'conv2d with two strides': (x, w, b) => ops.conv2d(x, w, b, { stride: [2, 1], padding: [0, 2] }),
  'conv2d of patches with a rest': (x, w, b) => ops.conv2d(x, w, b, { stride: [2, 4] }),
  'avgPool2d overlapping': (x) => ops.avgPool2d(x, [3, 2], [2, 1]),
  'avgPool2d with a rest': (x) => ops.avgPool2d(x, 2),
  'bilinear corners': (x) => ops.interpolate(x, { size: [4, 9], mode: 'bilinear', alignCorners: true }),
  'bicubic corners': (x) => ops.interpolate(x, { size: [9, 3], mode: 'bicubic', alignCorners: true }),
  'bicubic smaller': (x) => ops.interpolate(x, { size: [3, 2], mode: 'bicubic' }),
  'groupNorm with weights': (x, weight, bias) => ops.groupNorm(x, 2, { weight, bias }),
  'normalize along the first axis': (x) => ops.normalize(x, { axis: 0 }),
  eye: () => ops.eye(2, 3),
  linspace: () => ops.linspace(-1, 2, 5),
};

const cases = await readJson<Record<string, Case>>('ops.json');

test('every case of the file is tested', () => {
  assert.deepEqual(Object.keys(FUNCTIONS).sort(), Object.keys(cases).sort());
});

function load({ shape, float, values }: Stored): Tensor {
  return tensor(values.map(torchNumber), { shape, dtype: float ? 'float32' : 'int32' });
}

for (const [name, fn] of Object.entries(FUNCTIONS)) {
  testEach(`${name} is as in PyTorch`, async () => {
    const { inputs, outputs, upstream, grads } = cases[name];
    const got = await readAll(() => {
      const leaves = inputs.map((stored) => load(stored).requireGrad(stored.float));
      const result = fn(...leaves);
      const list = Array.isArray(result) ? (result as Tensor[]) : [result as Tensor];
      const named: Record<string, Tensor> = {};
      const seeds = list.flatMap((t, i) => {
        named[`output ${i}`] = t;
        const edge = edgeOf(t);
        return edge ? [edge] : [];
      });
      assert.equal(seeds.length, upstream.length, 'outputs with a gradient');
      propagate(
        seeds.map((edge, i) => ({ edge, gradient: keep(load(upstream[i])) })),
        false,
      );
      leaves.forEach((leaf, i) => {
        const g = takeGrad(leaf);
        if (g) named[`gradient ${i}`] = g;
      });
      return named;
    });
    const wanted = new Map([
      ...outputs.map((stored, i) => [`output ${i}`, stored] as const),
      ...grads.flatMap((stored, i) => (stored ? [[`gradient ${i}`, stored] as const] : [])),
    ]);
    assert.deepEqual(Object.keys(got).sort(), [...wanted.keys()].sort());
    for (const [key, { shape, values }] of wanted) {
      assert.deepEqual([...got[key].shape], [...shape], `${key}: shape`);
      assertClose(got[key].data, values.map(torchNumber), PYTORCH, `${name}: ${key}`, shape);
    }
  });
}

/** Numbers that JSON lacks are stored as Python writes them. */
function torchNumber(value: number | string): number {
  if (typeof value === 'number') return value;
  return value === 'nan' ? Number.NaN : value === 'inf' ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
}
