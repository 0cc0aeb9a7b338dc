/** All kernels by the name of their op. */
import type { Kernel } from '../../../core/backend.js';
import type { Runtime } from '../runtime.js';
import { adamwStep } from './adamwStep.js';
import { attention } from './attention.js';
import { attentionBackward } from './attentionBackward.js';
import { cat } from './cat.js';
import { crossEntropy, crossEntropyBackward } from './crossEntropy.js';
import { fill } from './fill.js';
import { globalNorm } from './globalNorm.js';
import { iota, randomBits } from './iota.js';
import { layerNorm, multiwayLayerNorm } from './layerNorm.js';
import { layerNormBackward, multiwayLayerNormBackward } from './layerNormBackward.js';
import { linear } from './linear.js';
import { linearBackwardWeights } from './linearBackwardWeights.js';
import { cumsum, prodBackward, topk } from './lines.js';
import { matmul } from './matmul.js';
import { argmax, max } from './max.js';
import { gather, gatherRows, pad } from './moves.js';
import { multiwayLinear } from './multiwayLinear.js';
import { multiwayLinearBackwardInput } from './multiwayLinearBackwardInput.js';
import { multiwayLinearBackwardWeights } from './multiwayLinearBackwardWeights.js';
import { scatterAdd, scatterAddRows } from './scatter.js';
import { logSoftmax, logSoftmaxBackward, softmax, softmaxBackward } from './softmax.js';
import { prod, sum } from './sum.js';

type Factory = (rt: Runtime) => Kernel;

const FACTORIES: Readonly<Record<string, Factory>> = {
  attention,
  attentionBackward,
  adamwStep,
  globalNorm,
  crossEntropy,
  crossEntropyBackward,
  fill,
  iota,
  randomBits,
  argmax,
  max,
  cat,
  gather,
  gatherRows,
  pad,
  prod,
  prodBackward,
  cumsum,
  topk,
  scatterAdd,
  scatterAddRows,
  sum,
  layerNorm,
  layerNormBackward,
  logSoftmax,
  logSoftmaxBackward,
  multiwayLayerNorm,
  multiwayLayerNormBackward,
  softmax,
  softmaxBackward,
  matmul,
  linear,
  linearBackwardWeights,
  multiwayLinear,
  multiwayLinearBackwardInput,
  multiwayLinearBackwardWeights,
};

export function createKernels(rt: Runtime): ReadonlyMap<string, Kernel> {
  return new Map(Object.entries(FACTORIES).map(([name, make]) => [name, make(rt)]));
}
