/** All kernels by the name of their op. */
import type { Kernel } from '../../../core/backend.js';
import type { Runtime } from '../runtime.js';
import { attention } from './attention.js';
import { attentionBackward } from './attentionBackward.js';
import { layerNorm, layerNormBackward, multiwayLayerNorm, multiwayLayerNormBackward } from './layerNorm.js';
import { linear } from './linear.js';
import { linearBackwardWeights } from './linearBackwardWeights.js';
import { matmul } from './matmul.js';
import { multiwayLinear, multiwayLinearBackwardInput, multiwayLinearBackwardWeights } from './multiwayLinear.js';
import { logSoftmax, logSoftmaxBackward, softmax, softmaxBackward } from './softmax.js';
import { sum } from './sum.js';

type Factory = (rt: Runtime) => Kernel;

const FACTORIES: Readonly<Record<string, Factory>> = {
  attention,
  attentionBackward,
  layerNorm,
  layerNormBackward,
  linear,
  linearBackwardWeights,
  logSoftmax,
  logSoftmaxBackward,
  matmul,
  multiwayLayerNorm,
  multiwayLayerNormBackward,
  multiwayLinear,
  multiwayLinearBackwardInput,
  multiwayLinearBackwardWeights,
  softmax,
  softmaxBackward,
  sum,
};

export function createKernels(rt: Runtime): ReadonlyMap<string, Kernel> {
  return new Map(Object.entries(FACTORIES).map(([name, make]) => [name, make(rt)]));
}
