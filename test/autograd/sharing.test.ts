/** What autograd shares with the rest of the program: values that change in place, memory of gradients, handles. */
import assert from 'node:assert/strict';
import '../../index.js';
import { checkpoint, customFunction } from '../../autograd/custom.js';
import { OpError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { add, affine, assign, clone, exp, matmul, mul, select, sum } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { AdamW, Builder, init, SGD } from '../../nn/index.js';
import { testEach } from '../support/backends.js';

const leaf = (values: number[]) => tensor(values, { requiresGrad: true });
const read = async (t: Tensor | null): Promise<number[]> => Array.from(await (t as Tensor).data());
const free = (...tensors: Tensor[]) => {
  for (const t of tensors) t.dispose();
};

const dropGrad = (t: Tensor): void => {
  t.grad?.dispose();
  t.grad = null;
};

/** Whether backward refuses because a saved tensor has changed. */
const refuses = (root: Tensor): void =>
  assert.throws(
    () => root.backward(),
    (e: Error) => e instanceof OpError && /as it was in the call, got it changed in place/.test(e.message),
  );

testEach('backward refuses saved values that were changed in place, and takes others', async () => {
  const w = leaf([2, 3]);
  const constant = tensor([
    [1, 2],
    [3, 4],
  ]);
  scope(() => {
    const y = sum(mul(w, w));
    assign(w, tensor([5, 5]));
    refuses(y);
    assert.equal(w.grad, null);
    // Through a view of what was saved, and through a second handle on a saved output.
    const z = sum(mul(constant, w));
    assign(select(constant, 0, 0), tensor([9, 9]));
    refuses(z);
    const e = exp(w);
    assign(e.detach(), tensor([0, 0]));
    refuses(sum(e));
    // A clone was saved, and addition saves nothing.
    const kept = sum(mul(clone(w), constant));
    const plain = sum(add(w, 1));
    assign(w, tensor([7, 7]));
    kept.backward();
    plain.backward();
  });
  assert.deepEqual(await read(w.grad), [13, 14]);
  free(w, constant);
});

testEach('backward refuses weights that an optimiser has moved since', () => {
  for (const make of [AdamW, SGD]) {
    const w = new Builder().parameter([2], init.ones);
    const optimiser = new make([['w', w]], { lr: 0.1 });
    scope(() => {
      const late = sum(mul(w, w));
      sum(mul(w, w)).backward();
      optimiser.step();
      refuses(late);
    });
    optimiser.dispose();
    free(w);
  }
});

testEach('a checkpoint refuses an input that was changed', () => {
  const x = leaf([1, 2]);
  scope(() => {
    const y = sum(checkpoint((t) => mul(t, t), x));
    assign(x, tensor([3, 4]));
    refuses(y);
  });
  free(x);
});

testEach('gradients of leaves have memory of their own', async () => {
  const [a, b, c] = [leaf([1, 2]), leaf([3, 4]), leaf([5, 6])];
  const seed = tensor([1, 10]);
  scope(() => add(add(a, b), c).backward({ gradient: seed }));
  const memory = [a.grad, b.grad, c.grad, seed].map((t) => t?.storage);
  assert.equal(new Set(memory).size, 4);
  scope(() => {
    assign(a.grad as Tensor, tensor([7, 7]));
    assign(seed, tensor([8, 8]));
  });
  assert.deepEqual(await read(b.grad), [1, 10]);
  assert.deepEqual(await read(c.grad), [1, 10]);
  free(a, b, c, seed);
});

testEach('a gradient that only its leaf holds is not copied', (backend) => {
  const [x, w] = [tensor([[1, 2]]), leaf([3])];
  const weights = tensor([[1], [2]], { requiresGrad: true });
  scope(() => {
    const y = sum(mul(matmul(x, weights), w));
    const before = backend.stats.launches;
    y.backward();
    const first = backend.stats.launches - before;
    const again = sum(mul(matmul(x, weights), w));
    const middle = backend.stats.launches;
    dropGrad(weights);
    dropGrad(w);
    again.backward();
    assert.equal(backend.stats.launches - middle, first);
    assert.equal(weights.grad?.storage.shared, false);
  });
  free(x, w, weights);
});

testEach('a scope whose result is the gradient of its leaf gives it', async (backend) => {
  const made = scope(() => {
    const grads = scope(() => {
      const w = leaf([2, 3]);
      const other = leaf([1, 1]);
      sum(mul(mul(w, w), other)).backward();
      return { w: w.grad as Tensor };
    });
    assert.equal(backend.stats.liveBlocks, 1);
    return [grads.w];
  });
  assert.deepEqual(await read(made[0]), [4, 6]);
  free(...made);
  scope(() => {
    scope(() => {
      const w = leaf([1]);
      sum(w).backward();
      return [w.grad];
    });
  });
});

testEach('a custom gradient may be one tensor for two inputs, or one of the caller', async () => {
  const constant = tensor([9, 8]);
  const [a, b] = [leaf([1, 2]), leaf([3, 4])];
  const twice = customFunction({
    forward: (x, y) => ({ outputs: [mul(x, y)] }),
    backward: ([g]) => {
      const shared = affine(g as Tensor, 2, 0);
      return [shared, shared];
    },
  });
  const fixed = customFunction({
    forward: (x) => ({ outputs: [exp(x)] }),
    backward: () => [constant],
  });
  scope(() => sum(twice(a, b)[0]).backward());
  dropGrad(a);
  assert.deepEqual(await read(b.grad), [2, 2]);
  scope(() => sum(fixed(a)[0]).backward());
  dropGrad(a);
  assert.deepEqual(await read(constant), [9, 8]);
  free(a, b, constant);
});

testEach('what a recorded function returns of the caller is not made part of the graph', async () => {
  const constant = tensor([9, 8]);
  const x = leaf([1, 2]);
  const same = customFunction({
    forward: (t) => {
      const y = affine(t, 2, 0);
      return { outputs: [y, y, constant] };
    },
    backward: ([g, h]) => [
      affine(
        noGrad(() => add(g as Tensor, h as Tensor)),
        2,
        0,
      ),
    ],
  });
  scope(() => {
    const [p, q, r] = same(x);
    assert.ok(r.requiresGrad && !constant.requiresGrad);
    sum(add(p, affine(q, 3, 0))).backward();
    checkpoint(() => constant, x);
    assert.ok(!constant.requiresGrad && constant.node === null);
  });
  assert.deepEqual(await read(x.grad), [8, 8]);
  assert.deepEqual(await read(constant), [9, 8]);
  free(x, constant);
});
