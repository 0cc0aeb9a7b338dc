/** Tensors: making and reading them, dtypes, scopes, methods, what is refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { METHODS } from '../../core/methods.js';
import * as azulejo from '../../index.js';
import { readOne, testEach, testOn } from '../support/backends.js';

const { tensor, scope, keep, noGrad, ops, OpError } = azulejo;
type Tensor = azulejo.Tensor;

testEach('values come back in their shape and dtype', async () => {
  const read = async (x: Tensor) => {
    const result = [x.dtype, [...x.shape], await x.toArray()];
    x.dispose();
    return result;
  };
  assert.deepEqual(
    await read(
      tensor([
        [1, 2],
        [3, 4.5],
      ]),
    ),
    [
      'float32',
      [2, 2],
      [
        [1, 2],
        [3, 4.5],
      ],
    ],
  );
  assert.deepEqual(await read(tensor(7)), ['float32', [], 7]);
  assert.deepEqual(await read(tensor([])), ['float32', [0], []]);
  assert.deepEqual(await read(tensor(new Int32Array([1, -2]))), ['int32', [2], [1, -2]]);
  assert.deepEqual(await read(tensor([0, 3, -1], { dtype: 'bool' })), ['bool', [3], [0, 1, 1]]);
  assert.deepEqual(await read(tensor([1, 255], { dtype: 'uint8' })), ['uint8', [2], [1, 255]]);
  assert.deepEqual(await read(tensor([1.5, 65504, 1e-8], { dtype: 'float16' })), ['float16', [3], [1.5, 65504, 0]]);
  assert.deepEqual(await read(tensor([1.5, 257], { dtype: 'bfloat16' })), ['bfloat16', [2], [1.5, 256]]);
});

testEach('casts truncate, wrap and round as in PyTorch', async () => {
  const cast = async (values: number[], from: azulejo.DType, to: azulejo.DType) =>
    Array.from((await readOne(() => tensor(values, { dtype: from }).cast(to))).data);
  assert.deepEqual(await cast([-1.9, 1.9, 0], 'float32', 'int32'), [-1, 1, 0]);
  assert.deepEqual(await cast([-0.5, 0, Number.NaN], 'float32', 'bool'), [1, 0, 1]);
  assert.deepEqual(await cast([0, 2, -3], 'int32', 'bool'), [0, 1, 1]);
  assert.deepEqual(await cast([257, -1], 'int32', 'uint8'), [1, 255]);
  assert.deepEqual(await cast([2049, 2051, 1e6], 'float32', 'float16'), [2048, 2052, Number.POSITIVE_INFINITY]);
  assert.deepEqual(await cast([257, 259], 'float32', 'bfloat16'), [256, 260]);
  assert.deepEqual(await cast([1.5, -2], 'float16', 'float32'), [1.5, -2]);
});

test('promotion follows the wider dtype; a fraction beside integers makes floats', async () => {
  await azulejo.useBackend('reference');
  scope(() => {
    const of = (dtype: azulejo.DType) => tensor([1, 2], { dtype });
    assert.equal(of('int32').add(of('float16')).dtype, 'float16');
    assert.equal(of('float16').add(of('bfloat16')).dtype, 'float32');
    assert.equal(of('uint8').mul(of('int32')).dtype, 'int32');
    assert.equal(of('int32').div(of('int32')).dtype, 'float32');
    assert.equal(of('int32').mul(2).dtype, 'int32');
    assert.equal(of('int32').mul(0.5).dtype, 'float32');
    assert.equal(of('bool').add(1).dtype, 'int32');
    assert.equal(of('bool').sum().dtype, 'int32');
    assert.equal(of('int32').mean().dtype, 'float32');
    assert.equal(of('int32').exp().dtype, 'float32');
    assert.equal(of('int32').equal(0.5).dtype, 'bool');
    assert.equal(of('float64').mul(0.5).dtype, 'float64');
  });
});

testEach('the smallest of integers, to the ends of their range', async () => {
  const of = async (make: () => Tensor) => Array.from((await readOne(make)).data);
  const [low, high] = [-(2 ** 31), 2 ** 31 - 1];
  const ints = () => tensor([5, low, 3, high, low], { dtype: 'int32' });
  assert.deepEqual(await of(() => ints().min(0).values), [low]);
  assert.deepEqual(await of(() => ints().min(0).indices), [1]);
  assert.deepEqual(await of(() => ints().amin()), [low]);
  assert.deepEqual(await of(() => ops.argmin(ints())), [1]);
  const bytes = () => tensor([5, 0, 255], { dtype: 'uint8' });
  assert.deepEqual(await of(() => bytes().amin()), [0]);
  assert.deepEqual(await of(() => bytes().min(0).indices), [1]);
  assert.equal((await readOne(() => bytes().amin())).dtype, 'uint8');
});

testEach('a tensor that was freed is not read', async () => {
  const x = tensor([1]);
  x.dispose();
  for (const read of [() => x.data(), () => x.toArray(), () => x.item()]) {
    await assert.rejects(read, /^OpError: \[tensor\] float32\[1\] was used after it was freed/);
  }
});

test('what does not fit is refused in one sentence', async () => {
  await azulejo.useBackend('reference');
  scope(() => {
    const [a, b] = [ops.ones([2, 3]), ops.ones([4, 3])];
    const ids = tensor([5], { dtype: 'int32' });
    const wrong: readonly [() => unknown, RegExp][] = [
      [() => a.add(b), /^\[add\] expected shapes that broadcast together, got \[2, 3\] and \[4, 3\]/],
      [
        () => a.matmul(b),
        /^\[matmul\] expected \[..., M, K\] and \[..., K, N\], got float32\[2, 3\] and float32\[4, 3\]/,
      ],
      [() => a.sum(2), /^\[sum\] expected an axis from -2 to 1, got 2/],
      [() => ops.cat([a, ops.ones([2])]), /^\[cat\] expected operands that differ in axis 0 alone/],
      [() => ops.cat([]), /^\[cat\] expected at least one tensor/],
      [() => ops.gatherRows(a, ids), /^\[gatherRows\] expected ids from 0 to 1, got 5/],
      [() => ops.gatherRows(a, tensor([0.5])), /^\[gatherRows\] expected integer ids/],
      [() => ops.gather(a, 0, tensor([[9]], { dtype: 'int32' })), /^\[gather\] expected indices from 0 to 1, got 9/],
      [() => ops.zeros([2, 0]).max(1), /^\[max\] expected elements along axis 1/],
      [() => a.topk(4), /^\[topk\] expected at most 3 of float32\[2, 3\], got 4/],
      [() => ops.einsum('ij,jk->il', a, b), /^\[einsum\] expected axes of the operands in the output, got 'l'/],
      [() => ops.einsum('ii->i', a), /^\[einsum\] expected different letters/],
      [() => ops.einsum('ij,ij->i', a, b), /^\[einsum\] expected one size for 'i', got 2 and 4/],
      [() => ops.conv2d(ops.ones([1, 1, 2, 2]), ops.ones([1, 1, 3, 3])), /^\[conv2d\] expected images/],
      [() => ops.dropout(a, 1.5), /^\[dropout\] expected a probability from 0 to 1, got 1.5/],
      [() => ops.pad(a, [[0, 1]]), /^\[pad\] expected one \[before, after\] per axis/],
      [() => ops.arange(0, 1, 0), /^\[arange\] expected a finite range/],
      [() => tensor([[1], [1, 2]]), /^\[tensor\] expected nested arrays of equal lengths/],
      [() => tensor([1, 2], { shape: [3] }), /^\[tensor\] expected 3 values for the shape \[3\], got 2/],
      [() => tensor([1], { dtype: 'int32', requiresGrad: true }), /^\[requireGrad\] expected a float dtype, got int32/],
    ];
    for (const [call, message] of wrong) {
      assert.throws(call, (e: Error) => e instanceof OpError && message.test(e.message) && !e.message.includes('\n'));
    }
  });
});

testOn('reference', 'scopes free what was made inside, keep takes out, results move up', (backend) => {
  const live = () => backend.stats.liveBlocks;
  const kept: Tensor[] = [];
  const result = scope(() => {
    const x = ops.ones([4]);
    kept.push(keep(x.mul(2)));
    const pair = scope(() => ({ a: x.add(1), list: [x.add(2)] }));
    assert.equal(live(), 4);
    return pair.list;
  });
  assert.equal(live(), 2);
  assert.throws(() => scope(async () => 0), TypeError);
  assert.throws(() => {
    scope(() => {
      ops.ones([4]);
      throw new RangeError('inside');
    });
  }, RangeError);
  assert.equal(live(), 2);
  const [first] = result;
  first.dispose();
  first.dispose();
  assert.throws(() => first.add(1), /was used after it was freed/);
  kept[0].dispose();
});

testEach('a call that throws leaves nothing behind', async (backend) => {
  const table = ops.ones([3, 2]);
  const ids = tensor([1, 7], { dtype: 'int32' });
  const freed = ops.ones([3, 2]);
  freed.dispose();
  const before = backend.stats.liveBlocks;
  const outside = () => ops.gatherRows(table, ids);
  for (const call of [() => ops.exp(freed), () => table.add(freed), ...(backend.host ? [outside] : [])]) {
    assert.throws(call, azulejo.InputError);
    assert.equal(backend.stats.liveBlocks, before);
  }
  if (!backend.host) {
    // A GPU sees the ids later: whoever reads first is told, once.
    const found = outside();
    await assert.rejects(found.data(), /\[gatherRows\] expected ids from 0 to 2, got 7/);
    await found.data();
    found.dispose();
  }
  table.dispose();
  ids.dispose();
});

testEach('functions made of several ops leave nothing behind, recorded or not', (backend) => {
  const x = ops.randn([2, 3, 4, 6]).requireGrad();
  const w = ops.randn([5, 3, 2, 2]).requireGrad();
  const ids = tensor([1, 0], { dtype: 'int32' });
  const calls: readonly (() => Tensor | readonly Tensor[])[] = [
    () => x.mean(1),
    () => x.variance([0, 2]),
    () => x.std(),
    () => x.softmax(1),
    () => x.logSoftmax(),
    () => x.logsumexp(-1),
    () => x.normalize(),
    () => x.amax([1, 2]),
    () => x.amin(),
    () => Object.values(x.min(1)),
    () => x.argmin(1),
    () => Object.values(x.topk(2, { axis: 1 })),
    () => x.maximum(0),
    () => x.greater(0.5),
    () => x.tril(),
    () => x.flip([0, 1]),
    () => x.select(0, 1),
    () => x.split(2, 3),
    () => x.indexSelect(2, ids),
    () => ops.where(x, 1, 0),
    () => ops.where(x, x, 0),
    () => ops.stack([x, x], 1),
    () => ops.cat([x, x], 1),
    () =>
      ops.pad(
        x,
        [
          [0, 0],
          [0, 1],
          [0, 0],
          [1, 1],
        ],
        3,
      ),
    () => ops.conv2d(x, w, null, { padding: 1 }),
    () => ops.conv2d(x, w, null, { stride: 2 }),
    () => ops.avgPool2d(x, 2),
    () => ops.avgPool2d(x, 2, 1),
    () => ops.interpolate(x, { size: [3, 9], mode: 'bicubic' }),
    () => ops.groupNorm(x, 3),
    () => ops.einsum('bchw,ocij->bo', x, w),
    () => ops.dropout(x, 0.5),
    () => ops.oneHot(ids, 3),
    () => ops.eye(3),
  ];
  const before = backend.stats.liveBlocks;
  for (const [i, fn] of calls.entries()) {
    for (const run of [fn, () => noGrad(fn)]) {
      const result = run();
      for (const t of Array.isArray(result) ? result : [result]) t.dispose();
      assert.equal(backend.stats.liveBlocks, before, `call ${i} left tensors behind`);
    }
  }
  for (const t of [x, w, ids]) t.dispose();
});

test('methods are the functions', async () => {
  await azulejo.useBackend('reference');
  for (const name of Object.keys(METHODS))
    assert.equal(typeof azulejo.Tensor.prototype[name as 'add'], 'function', name);
  const { data } = await readOne(() =>
    tensor([1, 2, 3])
      .add(1)
      .mul(tensor([1, 0, 2]))
      .sub(2)
      .reshape([3, 1])
      .sum(0),
  );
  assert.deepEqual(Array.from(data), [4]);
  assert.equal(ops.var, ops.variance);
});

testEach('requiring gradients through methods', async () => {
  const { data } = await readOne(() => {
    const x = tensor([1, 2, 3], { requiresGrad: true });
    x.square().sum().backward();
    return (x.grad as Tensor).clone();
  });
  assert.deepEqual(Array.from(data), [2, 4, 6]);
});

testEach('a tensor prints and serialises as its dtype and shape, not as its backend', () => {
  using x = tensor([[1, 2]]);
  assert.equal(JSON.stringify({ x }), '{"x":"float32[1, 2]"}');
  assert.equal(inspect(x), `Tensor float32[1, 2] on ${x.backend.name}`);
});

testEach('what a program without types may pass is named', async () => {
  const x = tensor([
    [1, 2],
    [3, 4],
  ]);
  const untyped = (value: unknown): never => value as never;
  const refuses = (fn: () => unknown, pattern: RegExp) =>
    assert.throws(fn, (error) => error instanceof OpError && pattern.test(error.message));
  for (const [values, got] of [
    [['1', '2'], 'a string'],
    [[1, undefined], 'undefined'],
    [null, 'null'],
    [[1n], 'a bigint'],
    [new BigInt64Array(1), 'a BigInt64Array'],
    [new DataView(new ArrayBuffer(4)), 'a DataView'],
    [[new Float32Array(2)], 'a Float32Array'],
    [x, 'a Tensor'],
  ])
    refuses(() => tensor(untyped(values)), new RegExp(`^\\[tensor\\] expected numbers, got ${got}$`));
  refuses(() => tensor([1], { shape: untyped(1) }), /expected a shape such as \[2, 3\], got 1$/);
  refuses(() => tensor([], { shape: [Number.NaN] }), /expected whole sizes of 0 or more, got \[NaN\]$/);
  refuses(() => azulejo.zeros(untyped(3)), /expected a shape such as \[2, 3\], got 3$/);
  refuses(() => x.add(untyped([1, 2])), /^\[add\] expected tensors as operands, got an Array$/);
  refuses(() => x.reshape(untyped(4)), /^\[reshape\] expected a shape such as \[2, -1\], got 4$/);
  refuses(() => x.sum(untyped({ axis: 1 })), /^\[sum\] expected an axis or a list of axes, got an Object$/);
  refuses(() => ops.cat(untyped(x)), /^\[cat\] expected a list of tensors, got a Tensor$/);
  const truths = tensor(untyped([true, false]));
  assert.deepEqual(await truths.toArray(), [1, 0]);
  for (const t of [x, truths]) t.dispose();
});
