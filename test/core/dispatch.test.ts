/** Calls of ops: interceptors in their order, backends kept apart, fused and decomposed alike. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { backward } from '../../autograd/backward.js';
import { takeGrad } from '../../autograd/grad.js';
import { loadBackend, useBackend } from '../../backends/index.js';
import { createBackend } from '../../backends/reference/index.js';
import type { Kernel } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { call1, intercept, ORDER } from '../../core/dispatch.js';
import { OpError } from '../../core/errors.js';
import { E } from '../../core/expr.js';
import { scope } from '../../core/memory.js';
import { defineOp } from '../../core/op.js';
import { add, exp, geluBackward, mul, ones, reshape, softmax, sum } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { readOne, testEach } from '../support/backends.js';

test('interceptors see a call in their order and may answer it themselves', async () => {
  await useBackend('reference');
  const seen: string[] = [];
  const stop = [
    intercept(ORDER.profiler, (call, next) => {
      seen.push(`profiler ${call.op.name}`);
      return next(call);
    }),
    intercept(ORDER.autocast, (call, next) => {
      seen.push(`autocast ${call.op.name}`);
      return call.op.name === 'exp'
        ? next({ ...call, op: { ...call.op, name: 'exp', expr: E.neg(E.input(0)) } as never })
        : next(call);
    }),
  ];
  try {
    const { data } = await readOne(() => exp(tensor([1, 2])));
    assert.deepEqual(Array.from(data), [-1, -2]);
    assert.deepEqual(seen, ['autocast exp', 'profiler exp']);
  } finally {
    for (const s of stop) s();
  }
  const { data } = await readOne(() => exp(tensor([0])));
  assert.deepEqual(Array.from(data), [1]);
});

test('an interceptor that is taken out twice takes out no other', async () => {
  await useBackend('reference');
  const stop = intercept(ORDER.capture, (call, next) => next(call));
  stop();
  const seen: string[] = [];
  const stopOther = intercept(ORDER.profiler, (call, next) => {
    seen.push(call.op.name);
    return next(call);
  });
  stop();
  scope(() => exp(tensor([0])));
  assert.deepEqual(seen, ['exp']);
  stopOther();
});

test('an op is named once', () => {
  const define = () =>
    defineOp({ name: 'add', infer: () => [], expr: E.input(0), nonDifferentiable: 'it is a double' });
  assert.throws(define, /op add is defined twice/);
});

test('operands of two backends do not meet', async () => {
  const wasm = await loadBackend('wasm', { threads: 2 });
  const reference = await loadBackend('reference');
  scope(() => {
    const [a, b] = [ones([2], { backend: wasm }), ones([2], { backend: reference })];
    assert.throws(
      () => add(a, b),
      (e: Error) => e instanceof OpError && /one backend, got wasm and reference/.test(e.message),
    );
  });
});

test('a kernel is used by its name, and what it declines is decomposed', async () => {
  const backend = await createBackend();
  const before = setDefaultBackend(backend);
  const asked: number[] = [];
  const kernel: Kernel = {
    plan([x]) {
      asked.push((x as { shape: readonly number[] }).shape[0]);
      if (asked.length > 1) return null;
      return ([y]) => backend.host?.store(y, new Float64Array(2).fill(0.25));
    },
  };
  (backend.kernels as Map<string, Kernel>).set('softmax', kernel);
  try {
    assert.deepEqual(Array.from((await readOne(() => softmax(tensor([1, 1])))).data), [0.25, 0.25]);
    assert.deepEqual(Array.from((await readOne(() => softmax(tensor([1, 1])))).data), [0.5, 0.5]);
    assert.deepEqual(asked, [2, 2]);
    assert.equal(backend.stats.liveBlocks, 0);
  } finally {
    setDefaultBackend(before);
  }
});

testEach('half floats are computed in float32 and come back as they were, gradients too', async () => {
  const { dtype, data } = await readOne(() => {
    const x = tensor([1, 2, 3], { dtype: 'bfloat16', requiresGrad: true });
    backward(sum(mul(exp(x), 2)));
    return takeGrad(x) as Tensor;
  });
  assert.equal(dtype, 'bfloat16');
  // 2 e^x rounded to 8 bits.
  assert.deepEqual(Array.from(data), [5.4375, 14.75, 40.25]);
});

testEach('an op of one own is computed everywhere and differentiated', async () => {
  const { data } = await readOne(() => {
    const x = tensor([0.5, -2], { requiresGrad: true });
    backward(sum(call1(cube, [reshape(x, [2, 1])], {})));
    return takeGrad(x) as Tensor;
  });
  assert.deepEqual(Array.from(data), [0.75, 12]);
});

test('backward into an op without a gradient throws and says why', async () => {
  await useBackend('reference');
  scope(() => {
    const x = tensor([0.5, -2], { requiresGrad: true });
    const y = sum(geluBackward(x, x));
    assert.throws(() => backward(y), /\[geluBackward\] has no gradient: it is part of a gradient/);
  });
});

const cube = defineOp({
  name: 'test.cube',
  infer: ([x]) => [x as { dtype: 'float32'; shape: readonly number[] }],
  expr: E.mul(E.input(0), E.mul(E.input(0), E.input(0))),
  vjp: { saves: ([x]) => [x], back: ([g], [x]) => [() => mul(mul(g as Tensor, 3), mul(x as Tensor, x as Tensor))] },
});
