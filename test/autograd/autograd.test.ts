/** The tape: what backward gives, keeps, frees and refuses. */
import assert from 'node:assert/strict';
import '../../index.js';
import { backward } from '../../autograd/backward.js';
import { customFunction } from '../../autograd/custom.js';
import { grad, valueAndGrad } from '../../autograd/grad.js';
import { gradcheck } from '../../autograd/gradcheck.js';
import { OpError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { enableGrad, isGradEnabled, noGrad } from '../../core/modes.js';
import {
  add,
  affine,
  argmax,
  cast,
  exp,
  globalNorm,
  greater,
  matmul,
  mul,
  ones,
  reshape,
  sum,
} from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { testEach, testOn } from '../support/backends.js';
import { assertClose } from '../support/compare.js';
import { PYTORCH } from '../support/tolerance.js';

const leaf = (values: number[]) => tensor(values, { requiresGrad: true });

const gradOf = async (t: Tensor): Promise<number[]> => {
  assert.ok(t.grad, 'a gradient arrived');
  return Array.from(await t.grad.data());
};

const freeAll = (...tensors: Tensor[]) => {
  for (const t of tensors) t.dispose();
};

testEach('gradients accumulate in leaves until they are freed', async () => {
  const x = leaf([1, 2, 3]);
  const step = () => scope(() => sum(mul(x, x)).backward());
  step();
  assert.deepEqual(await gradOf(x), [2, 4, 6]);
  step();
  assert.deepEqual(await gradOf(x), [4, 8, 12]);
  x.grad?.dispose();
  x.grad = null;
  step();
  assert.deepEqual(await gradOf(x), [2, 4, 6]);
  freeAll(x);
});

testEach('a tensor that is used several times gets the sum of its gradients', async () => {
  const x = leaf([2, 3]);
  scope(() => {
    const y = mul(x, x);
    sum(add(mul(y, x), add(y, y))).backward();
  });
  // x^3 + 2 x^2.
  assert.deepEqual(await gradOf(x), [12 + 8, 27 + 12]);
  freeAll(x);
});

testEach('backward a second time throws and says what helps', (backend) => {
  const x = leaf([1, 2]);
  const y = scope(() => sum(mul(x, x)));
  backward(y);
  const bytes = backend.stats.liveBytes;
  assert.throws(() => backward(y), /backward went through \w+ a second time; pass retainGraph/);
  assert.equal(backend.stats.liveBytes, bytes);
  freeAll(y, x);
});

testEach('retainGraph keeps the graph for another backward', async () => {
  const x = leaf([1, 2]);
  const y = scope(() => sum(exp(mul(x, x))));
  backward(y, { retainGraph: true });
  const once = await gradOf(x);
  backward(y);
  assert.deepEqual(
    await gradOf(x),
    once.map((v) => Math.fround(2 * v)),
  );
  assert.throws(() => backward(y), /a second time/);
  freeAll(y, x);
});

testEach('backward frees what the calls saved; the leaves keep their gradients', (backend) => {
  const before = backend.stats.liveBytes;
  const x = tensor(new Float32Array(256), { shape: [16, 16], requiresGrad: true });
  const y = scope(() => sum(exp(matmul(exp(x), exp(x)))));
  assert.ok(backend.stats.liveBytes - before > 4 * 1024);
  backward(y);
  assert.equal(backend.stats.liveBytes - before, 2 * 1024 + 4);
  freeAll(y, x);
});

testEach('a graph that is dropped without backward frees its memory', (backend) => {
  const x = tensor(new Float32Array(256), { shape: [16, 16], requiresGrad: true });
  const before = backend.stats.liveBytes;
  const y = scope(() => sum(exp(matmul(exp(x), exp(x)))));
  assert.ok(backend.stats.liveBytes > before + 2048);
  y.dispose();
  assert.equal(backend.stats.liveBytes, before);
  // In a scope nobody has to dispose anything, even where the function throws.
  scope(() => void sum(exp(x)));
  assert.throws(() => scope(() => matmul(exp(x), ones([3]))), OpError);
  assert.equal(backend.stats.liveBytes, before);
  x.dispose();
});

testOn('reference', 'a graph of 20,000 calls is no deeper than the stack', async () => {
  const x = leaf([1]);
  for (const run of [(y: Tensor) => backward(y), () => {}]) {
    scope(() => {
      let y: Tensor = x;
      for (let i = 0; i < 20_000; i++) y = affine(y, 1, 1);
      run(y);
    });
  }
  assert.deepEqual(await gradOf(x), [1]);
  freeAll(x);
});

testEach('a leaf that is freed before backward gets nothing and breaks nothing', async () => {
  const [x, w] = [leaf([1, 2]), leaf([3, 4])];
  const y = scope(() => sum(mul(x, w)));
  w.dispose();
  backward(y);
  assert.deepEqual(await gradOf(x), [3, 4]);
  assert.equal(w.grad, null);
  freeAll(y, x);
});

testEach('gradients of broadcast and cast operands have the shape and dtype of the operands', async () => {
  const [a, b] = [
    tensor([[1], [2]], { requiresGrad: true }),
    tensor([1, 2, 3], { dtype: 'bfloat16', requiresGrad: true }),
  ];
  scope(() => sum(mul(a, cast(b, 'float32'))).backward());
  assert.deepEqual([a.grad?.shape, b.grad?.shape, b.grad?.dtype], [[2, 1], [3], 'bfloat16']);
  assert.deepEqual(await gradOf(a), [6, 6]);
  assert.deepEqual(await gradOf(b), [3, 3, 3]);
  freeAll(a, b);
});

testEach('backward takes a gradient for its root, in its shape', async () => {
  const x = leaf([1, 2, 3, 4]);
  const y = scope(() => mul(reshape(x, [2, 2]), 2));
  assert.throws(() => backward(y), /expected a tensor of one element or a gradient for it, got float32\[2, 2\]/);
  // As many elements, and one that would broadcast: both are mistakes.
  for (const shape of [[4], [2, 1], [1, 2, 2]]) {
    scope(() => {
      const gradient = ones(shape);
      assert.throws(
        () => backward(y, { gradient }),
        /\[backward\] expected a gradient in the shape of float32\[2, 2\]/,
      );
    });
  }
  const gradient = tensor(new Float32Array([1, 0, -1, 3]), { shape: [2, 2], dtype: 'float16' });
  backward(y, { gradient });
  assert.deepEqual(await gradOf(x), [2, 0, -2, 6]);
  assert.ok(!gradient.disposed);
  freeAll(gradient, y, x);
});

testEach('backward from nothing that needs a gradient is refused', () => {
  const x = ones([1]);
  assert.throws(() => backward(x), /expected a tensor that depends on one requiring a gradient/);
  const p = leaf([1]);
  const y = noGrad(() => mul(p, 2));
  assert.throws(() => backward(y), OpError);
  freeAll(x, p, y);
});

testEach('an op without a gradient does not cut the graph silently', () => {
  const x = leaf([1, 2]);
  scope(() => {
    // Truth values and positions need no gradient ...
    assert.equal(sum(cast(greater(mul(x, x), 2), 'float32')).requiresGrad, false);
    assert.equal(argmax(x, 0).requiresGrad, false);
  });
  // ... but a float that depends on x does.
  const norm = scope(() => globalNorm([exp(x)]));
  assert.ok(norm.requiresGrad);
  assert.throws(() => backward(norm), /\[globalNorm\] has no gradient: it measures gradients/);
  freeAll(norm, x);
});

testEach('modes nest and come back after errors', () => {
  assert.ok(isGradEnabled());
  noGrad(() => {
    assert.ok(!isGradEnabled());
    enableGrad(() => assert.ok(isGradEnabled()));
    assert.ok(!isGradEnabled());
  });
  assert.throws(() =>
    noGrad(() => {
      throw new Error('inside');
    }),
  );
  assert.ok(isGradEnabled());
  assert.throws(() => noGrad(async () => {}), /synchronous/);
  assert.ok(isGradEnabled());
  const x = leaf([1]);
  const y = noGrad(() => mul(x, 2));
  const z = scope(() => mul(x.detach(), 2));
  assert.ok(!y.requiresGrad && !z.requiresGrad);
  freeAll(x, y, z);
});

testEach('grad and valueAndGrad leave the arguments as they are', async () => {
  const [x, w] = [tensor([1, 2]), leaf([3, 4])];
  const f = (a: Tensor, b: Tensor) => sum(mul(mul(a, a), b));
  const { value, grads } = valueAndGrad(f)(x, w);
  assert.equal(await value.item(), 3 + 16);
  assert.ok(!value.requiresGrad);
  assert.deepEqual(await Promise.all(grads.map((g) => g.toArray())), [
    [6, 16],
    [1, 4],
  ]);
  assert.deepEqual([x.requiresGrad, x.grad, w.grad], [false, null, null]);
  const again = noGrad(() => grad(f)(x, w));
  assert.deepEqual(await again[0].toArray(), [6, 16]);
  const partial = grad((_a: Tensor, b: Tensor) => sum(b))(x, w);
  const constant = grad((_: Tensor) => ones([]))(x);
  assert.deepEqual(await partial[0].toArray(), [0, 0]);
  assert.throws(() => grad((a: Tensor) => mul(a, 2))(x), /expected a function with one number as result/);
  freeAll(x, w, value, ...partial, ...grads, ...again, ...constant);
});

testEach('grad gives the gradients of a tensor that is passed twice, one for each place', async () => {
  const x = tensor([3]);
  const grads = grad((a: Tensor, b: Tensor) => sum(mul(a, mul(b, b))))(x, x);
  assert.deepEqual(await Promise.all(grads.map((g) => g.item())), [9, 18]);
  freeAll(x, ...grads);
});

testEach('a custom function has the gradient that it says', async () => {
  // A straight-through rounding, times two so that its own rule is seen.
  const round = customFunction({
    name: 'round',
    forward: (x) => ({ outputs: [affine(x, 1, 0.5).floor()] }),
    backward: ([g]) => [g && mul(g, 2)],
  });
  const x = leaf([0.2, 0.7]);
  const y = scope(() => {
    const [out] = round(exp(x));
    sum(mul(out, out)).backward();
    return out.detach();
  });
  assert.deepEqual(await y.toArray(), [1, 2]);
  const wanted = [2 * 2 * Math.exp(0.2), 2 * 2 * 2 * Math.exp(0.7)];
  assertClose(await gradOf(x), wanted, PYTORCH, 'gradient');
  freeAll(x, y);
});

testEach('a custom function: several outputs, unused ones, saved tensors, inputs without gradient', async (backend) => {
  const seen: boolean[][] = [];
  const productAndSquare = customFunction({
    forward: (a, b) => ({ outputs: [mul(a, b), mul(a, a), a], saved: [a, b] }),
    backward: (grads, [a, b]) => {
      seen.push(grads.map((g) => g !== null));
      const [p, s] = grads;
      const forA = [p && mul(p, b as Tensor), s && mul(s, mul(a as Tensor, 2))].filter((g) => g !== null);
      return [forA.reduce((x, y) => add(x, y)), p && mul(p, a as Tensor)];
    },
  });
  const [a, b] = [leaf([2, 3]), leaf([5, 7])];
  scope(() => {
    const [product, square, same] = productAndSquare(a, b);
    assert.notEqual(same, a);
    sum(add(product, square)).backward();
  });
  assert.deepEqual(
    [await gradOf(a), await gradOf(b)],
    [
      [5 + 4, 7 + 6],
      [2, 3],
    ],
  );
  scope(() => sum(productAndSquare(a, b)[1]).backward());
  assert.deepEqual(await gradOf(a), [9 + 4, 13 + 6]);
  assert.deepEqual(seen, [
    [true, true, false],
    [false, true, false],
  ]);
  const before = backend.stats.liveBytes;
  scope(() => void productAndSquare(a, b));
  const unrecorded = noGrad(() => productAndSquare(a, b));
  assert.ok(unrecorded.every((t) => !t.requiresGrad));
  freeAll(...unrecorded);
  const indices = customFunction({ forward: (x) => ({ outputs: [argmax(x, 0)], saved: [x] }), backward: () => [null] });
  scope(() => assert.equal(indices(exp(a))[0].requiresGrad, false));
  assert.equal(backend.stats.liveBytes, before);
  freeAll(a, b);
});

testOn('reference', 'gradcheck finds a wrong rule', async () => {
  const cube = (factor: number) =>
    customFunction({
      forward: (x) => ({ outputs: [mul(x, mul(x, x))], saved: [x] }),
      backward: ([g], [x]) => [g && mul(g, mul(mul(x as Tensor, x as Tensor), factor))],
    });
  const x = tensor(Float64Array.from([0.5, -1.25]), { requiresGrad: true });
  assert.ok((await gradcheck((t) => cube(3)(t), [x])) < 1e-6);
  await assert.rejects(
    gradcheck((t) => cube(3.001)(t), [x]),
    /gradcheck: input 0, element \d: backward gave/,
  );
  freeAll(x);
});
