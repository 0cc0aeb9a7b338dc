/** Views: which calls share memory, which copy, and what they read; by random chains of them. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { OpError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import {
  arange,
  assign,
  chunk,
  contiguous,
  expand,
  flatten,
  narrow,
  permute,
  reshape,
  select,
  slice,
  split,
  squeeze,
  transpose,
  unsqueeze,
} from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { readOne, testEach, withoutLeak } from '../support/backends.js';

const shares = (a: Tensor, b: Tensor) => a.storage === b.storage;

testEach('views share memory; reshape copies only what strides cannot express', () => {
  scope(() => {
    const x = reshape(arange(24), [2, 3, 4]);
    for (const v of [transpose(x), slice(x, 1, 1), select(x, 0, 1), unsqueeze(x, 0), narrow(x, 2, 1, 2), flatten(x)]) {
      assert.ok(shares(v, x), `${v}`);
    }
    assert.equal(contiguous(x), x);
    assert.ok(!shares(contiguous(transpose(x)), x));
    // Splitting an axis and joining two that step evenly need no copy, also in a view.
    const view = transpose(slice(x, 2, 0, 4, 2), 0, 1);
    assert.ok(shares(reshape(view, [3, 2, 1, 2]), x));
    assert.ok(shares(reshape(slice(x, 0, 1), [12]), x));
    assert.ok(!shares(reshape(transpose(x), [24]), x));
    assert.ok(!shares(reshape(slice(x, 2, 0, 3), [2, 9]), x));
    assert.ok(shares(expand(unsqueeze(x, 1), [-1, 5, -1, -1]), x));
    // Writing through a view is seen by the whole.
    assign(select(x, 0, 1), tensor(-1, { dtype: 'int32' }));
  });
});

testEach('a write through a view is seen by the whole', async () => {
  const { data } = await readOne(() => {
    const x = reshape(arange(6), [2, 3]);
    assign(select(x, 1, 2), tensor([10, 20], { dtype: 'int32' }));
    return x;
  });
  assert.deepEqual([...Array.from(data)], [0, 1, 10, 3, 4, 20]);
});

testEach('an assignment between parts that overlap reads what was there before', async () => {
  // Large enough for several threads.
  const side = 600;
  const values = Float32Array.from({ length: side * side }, (_, i) => i);
  const x = tensor(values, { shape: [side, side] });
  scope(() => assign(x, transpose(x)));
  const turned = await x.data();
  assert.ok(turned.every((v, i) => v === (i % side) * side + Math.floor(i / side)));
  const flat = reshape(x, [side * side]);
  scope(() => assign(flat, tensor(values)));
  scope(() => assign(slice(flat, 0, 1), slice(flat, 0, 0, -1)));
  assert.ok((await flat.data()).every((v, i) => v === Math.max(0, i - 1)));
  scope(() => assign(slice(flat, 0, 0, -1), slice(flat, 0, 1)));
  assert.ok((await flat.data()).every((v, i) => v === Math.min(i, side * side - 2)));
  x.dispose();
  flat.dispose();
});

testEach('an assignment to nothing is one', () => {
  scope(() => {
    const x = reshape(arange(0), [3, 0]);
    assign(x, reshape(arange(0), [3, 0]));
    assign(slice(reshape(arange(6), [2, 3]), 1, 3), tensor(1, { dtype: 'int32' }));
    assert.throws(() => assign(x, reshape(arange(6), [3, 2])), OpError);
  });
});

testEach('pieces have their sizes and content', async () => {
  const read = async (fn: (x: Tensor) => Tensor) => {
    const { shape, data } = await readOne(() => fn(reshape(arange(10), [2, 5])));
    return [...shape, ':', ...Array.from(data)].join(' ');
  };
  assert.equal(await read((x) => split(x, 2, 1)[2]), '2 1 : 4 9');
  assert.equal(await read((x) => split(x, [1, 4], 1)[1]), '2 4 : 1 2 3 4 6 7 8 9');
  assert.equal(await read((x) => chunk(x, 4, -1)[1]), '2 2 : 2 3 7 8');
  assert.equal(await read((x) => slice(x, 1, -3, -1)), '2 2 : 2 3 7 8');
  assert.equal(await read((x) => slice(x, 1, 0, 99, 3)), '2 2 : 0 3 5 8');
  assert.equal(await read((x) => slice(x, 1, 4, 2)), '2 0 :');
  assert.equal(await read((x) => slice(slice(x, 1, 4, 2), 1, 0)), '2 0 :');
  assert.equal(await read((x) => select(x, 1, -1)), '2 : 4 9');
  assert.equal(await read((x) => squeeze(unsqueeze(x, -1), -1)), '2 5 : 0 1 2 3 4 5 6 7 8 9');
  assert.equal(await read((x) => squeeze(unsqueeze(unsqueeze(x, 0), 2))), '2 5 : 0 1 2 3 4 5 6 7 8 9');
  assert.equal(await read((x) => flatten(unsqueeze(x, 0), 1)), '1 10 : 0 1 2 3 4 5 6 7 8 9');
  assert.equal(await read((x) => reshape(x, [5, -1])), '5 2 : 0 1 2 3 4 5 6 7 8 9');
});

testEach('wrong views say what was expected', () => {
  scope(() => {
    const x = reshape(arange(6), [2, 3]);
    const wrong: (() => unknown)[] = [
      () => reshape(x, [4]),
      () => reshape(x, [-1, -1]),
      () => reshape(x, [-1, 4]),
      () => reshape(x, [-2, -3]),
      () => reshape(x, [1.5, 4]),
      () => permute(x, [0, 0]),
      () => permute(x, [0]),
      () => transpose(x, 0, 2),
      () => slice(x, 2),
      () => slice(x, 0, 0, 1, 0),
      () => slice(x, 1, 0, 1.5),
      () => slice(x, 1, Number.NaN),
      () => narrow(x, 1, 2, 2),
      () => select(x, 0, 2),
      () => split(x, [1, 1], 1),
      () => split(x, 0),
      () => chunk(x, 0),
      () => squeeze(x, 0),
      () => expand(x, [2, 4]),
      () => expand(x, [3]),
      () => expand(tensor(1), [-2]),
      () => expand(tensor(1), [2.5]),
      () => flatten(x, 1, 0),
    ];
    for (const [i, call] of wrong.entries()) {
      assert.throws(call, (e: Error) => e instanceof OpError && /^\[\w+\] expected .+, got .+/.test(e.message), `${i}`);
    }
  });
});

/** The same views on a list of index arrays: what a chain of views must read. */
interface Model {
  readonly shape: readonly number[];
  readonly values: readonly number[];
}

const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** A model with entry `index` of the result taken from `from(index)`. */
function rearranged(m: Model, shape: readonly number[], from: (index: readonly number[]) => readonly number[]): Model {
  const values = Array.from({ length: sizeOf(shape) }, (_, position) => {
    const index: number[] = [];
    for (let rest = position, a = shape.length - 1; a >= 0; a--) {
      index.unshift(rest % shape[a]);
      rest = Math.floor(rest / shape[a]);
    }
    return m.values[from(index).reduce((at, k, axis) => at * m.shape[axis] + k, 0)];
  });
  return { shape, values };
}

type Step = readonly [Tensor, Model];

/** One random view of both; numbers steer it. */
function step([x, m]: Step, kind: number, a: number, b: number): Step {
  const axis = a % Math.max(1, m.shape.length);
  if (m.shape.length === 0 || kind === 0) {
    const at = a % (m.shape.length + 1);
    return [unsqueeze(x, at), { shape: m.shape.toSpliced(at, 0, 1), values: m.values }];
  }
  if (kind === 1) {
    const other = b % m.shape.length;
    const order = m.shape.map((_, i) => (i === axis ? other : i === other ? axis : i));
    const shape = order.map((i) => m.shape[i]);
    return [transpose(x, axis, other), rearranged(m, shape, (index) => order.map((i) => index[i]))];
  }
  if (kind === 2) {
    const start = b % (m.shape[axis] + 1);
    const stride = 1 + (b % 3);
    const shape = m.shape.with(axis, Math.max(0, Math.ceil((m.shape[axis] - start) / stride)));
    const from = (index: readonly number[]) => index.with(axis, start + index[axis] * stride);
    return [slice(x, axis, start, undefined, stride), rearranged(m, shape, from)];
  }
  if (kind === 3) {
    const shape = [b % 4, ...m.shape];
    return [expand(x, shape), rearranged(m, shape, (index) => index.slice(1))];
  }
  const size = sizeOf(m.shape);
  const divisor = [5, 3, 2, 1].find((d) => size % d === 0) as number;
  const shape = b % 2 ? [divisor, size / divisor] : [size / divisor, divisor];
  return [reshape(x, shape), { shape, values: m.values }];
}

testEach('random chains of views read the right elements', async (backend) => {
  const steps = fc.array(fc.tuple(fc.nat(4), fc.nat(20), fc.nat(20)), { maxLength: 6 });
  const property = fc.asyncProperty(steps, async (list) => {
    let model: Model = { shape: [2, 3, 5], values: [...Array(30).keys()] };
    const { shape, data } = await withoutLeak(backend, () =>
      readOne(() => {
        let at: Step = [reshape(arange(30), [2, 3, 5]), model];
        for (const [kind, a, b] of list) if (sizeOf(at[1].shape) <= 200) at = step(at, kind, a, b);
        model = at[1];
        return at[0];
      }),
    );
    assert.deepEqual([...shape], [...model.shape]);
    assert.deepEqual(Array.from(data), [...model.values]);
  });
  await fc.assert(property, { numRuns: 150, seed: 5 });
});
