/** Fused ops against PyTorch's numbers, with gradients. */
import {
  attention,
  crossEntropy,
  layerNorm,
  linear,
  scaledDotProductAttention,
  transpose,
} from '../../core/ops/index.js';
import { testEach } from '../support/backends.js';
import { checkOperator } from './fusedSupport.js';

testEach('linear is as in PyTorch', () => checkOperator('linear', ({ x, w, b }) => linear(x, w, b)));

testEach('layerNorm is as in PyTorch', () => checkOperator('layer_norm', ({ x, w, b }) => layerNorm(x, w, b)));

testEach('attention is as in PyTorch', async () => {
  await checkOperator('attention', ({ q, k, v }) => scaledDotProductAttention(q, k, v));
  await checkOperator('attention_bias', ({ q, k, v, b }) => scaledDotProductAttention(q, k, v, { mask: b }));
  await checkOperator('attention_bias', ({ q, k, v, b }) => {
    const [first, second, third] = [q, k, v].map((t) => transpose(t, 1, 2));
    return transpose(attention(first, second, third, { bias: b }), 1, 2);
  });
});

testEach('crossEntropy is as in PyTorch', async () => {
  await checkOperator('cross_entropy', ({ x, y }) => crossEntropy(x, y));
  await checkOperator('cross_entropy_ignore', ({ x, y }) => crossEntropy(x, y));
  await checkOperator('cross_entropy_smooth', ({ x, y }) => crossEntropy(x, y, { labelSmoothing: 0.1 }));
});
