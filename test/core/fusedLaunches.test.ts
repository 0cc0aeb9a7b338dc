/** How many kernels a fused op starts on wasm, forward and backward: the speed of small models hangs on it. */
import assert from 'node:assert/strict';
import { backward } from '../../autograd/backward.js';
import { scope } from '../../core/memory.js';
import {
  attention,
  crossEntropy,
  globalNorm,
  layerNorm,
  linear,
  multiwayLayerNorm,
  multiwayLinear,
} from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { testOn } from '../support/backends.js';
import { random } from './fusedSupport.js';

/** Checks the launches of `make()` and of its backward; `make` gets tensors that all want gradients. */
function testLaunches(
  title: string,
  forward: number,
  back: number,
  make: (leaf: (...shape: number[]) => Tensor) => () => Tensor,
) {
  testOn('wasm', `launches of ${title}`, async ({ stats }) => {
    scope(() => {
      const run = make((...shape) => random(shape, true));
      const start = stats.launches;
      const y = run();
      const middle = stats.launches;
      const gradient = random(y.shape);
      backward(y, { gradient });
      assert.deepEqual([middle - start, stats.launches - middle], [forward, back], 'launches forward and backward');
    });
  });
}

testLaunches('linear', 1, 2, (leaf) => {
  const [x, w, b] = [leaf(2, 6, 8), leaf(4, 8), leaf(4)];
  return () => linear(x, w, b);
});

// One of these launches copies the gradient given to backward, which is the residual's too.
testLaunches('linear with gelu and residual', 1, 4, (leaf) => {
  const [x, w, b, residual] = [leaf(2, 6, 8), leaf(4, 8), leaf(4), leaf(2, 6, 4)];
  return () => linear(x, w, b, { activation: 'gelu', residual });
});

testLaunches('multiwayLinear', 1, 2, (leaf) => {
  const way = () => ({ weight: leaf(4, 8), bias: leaf(4) });
  const [x, ways] = [leaf(2, 6, 8), { A: way(), B: way() }];
  return () => multiwayLinear(x, ways, 3);
});

testLaunches('multiwayLinear with gelu and residual', 1, 4, (leaf) => {
  const way = () => ({ weight: leaf(4, 8), bias: leaf(4) });
  const [x, ways, residual] = [leaf(2, 6, 8), { A: way(), B: way() }, leaf(2, 6, 4)];
  return () => multiwayLinear(x, ways, 3, { activation: 'gelu', residual });
});

testLaunches('layerNorm', 1, 1, (leaf) => {
  const [x, w, b] = [leaf(2, 6, 8), leaf(8), leaf(8)];
  return () => layerNorm(x, w, b);
});

testLaunches('multiwayLayerNorm', 1, 1, (leaf) => {
  const way = () => ({ weight: leaf(8), bias: leaf(8) });
  const [x, A, B] = [leaf(2, 6, 8), way(), way()];
  return () => multiwayLayerNorm(x, A, B, 3);
});

testLaunches('attention', 1, 1, (leaf) => {
  const [q, k, v] = [leaf(2, 6, 2, 4), leaf(2, 5, 2, 4), leaf(2, 5, 2, 4)];
  return () => attention(q, k, v);
});

testLaunches('crossEntropy without reduction', 1, 1, (leaf) => {
  const [x, target] = [leaf(3, 7), tensor(new Int32Array([1, 2, 3]))];
  return () => crossEntropy(x, target, { reduction: 'none' });
});

testOn('wasm', 'launches of globalNorm', async ({ stats }) => {
  scope(() => {
    const tensors = [random([3, 4]), random([5])];
    const before = stats.launches;
    globalNorm(tensors);
    assert.equal(stats.launches - before, 1);
  });
});
