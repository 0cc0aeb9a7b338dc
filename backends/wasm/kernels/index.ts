/** All kernels by the name of their op. */
import type { Kernel } from '../../../core/backend.js';
import type { Runtime } from '../runtime.js';
import { attention } from './attention.js';
import { attentionBackward } from './attentionBackward.js';
import { crossEntropy, crossEntropyBackward } from './crossEntropy.js';
import { layerNorm, layerNormBackward, multiwayLayerNorm, multiwayLayerNormBackward } from './layerNorm.js';
import { linear } from './linear.js';
import { linearBackwardWeights } from './linearBackwardWeights.js';
import { matmul } from './matmul.js';
import { argmax, max } from './maximum.js';
import { cat, fill, pad } from './moves.js';
import { multiwayLinear, multiwayLinearBackwardInput, multiwayLinearBackwardWeights } from './multiwayLinear.js';
import { adamwStep, globalNorm } from './optimizer.js';
import { randomBits } from './randomBits.js';
import { gatherRows, scatterAddRows } from './rows.js';
import { logSoftmax, logSoftmaxBackward, softmax, softmaxBackward } from './softmax.js';
import { sum } from './sum.js';

type Factory = (rt: Runtime) => Kernel;

const FACTORIES: Readonly<Record<string, Factory>> = {
  adamwStep,
  argmax,
  attention,
  attentionBackward,
  cat,
  crossEntropy,
  crossEntropyBackward,
  fill,
  gatherRows,
  globalNorm,
  layerNorm,
  layerNormBackward,
  linear,
  linearBackwardWeights,
  logSoftmax,
  logSoftmaxBackward,
  matmul,
  max,
  multiwayLayerNorm,
  multiwayLayerNormBackward,
  multiwayLinear,
  multiwayLinearBackwardInput,
  multiwayLinearBackwardWeights,
  pad,
  randomBits,
  scatterAddRows,
  softmax,
  softmaxBackward,
  sum,
};

export function createKernels(rt: Runtime): ReadonlyMap<string, Kernel> {
  return new Map(Object.entries(FACTORIES).map(([name, make]) => [name, make(rt)]));
}
