/** Neural networks: modules, layers, initialisers, losses, optimisers and schedules. */
// Tensors have their methods for whoever imports this alone.
import '../core/methods.js';
import '../autograd/index.js';

export { autocast, computesHalf, GradScaler, type GradScalerOptions, type GradScalerState } from './amp.js';
export { Buffer, Builder, type BuilderOptions, metaBackend, Parameter, writeValues } from './builder.js';
export { EMA } from './ema.js';
export * as functional from './functional.js';
export type { Initializer } from './init.js';
export * as init from './init.js';
export {
  Conv2d,
  Dropout,
  DropPath,
  Embedding,
  GELU,
  Layer,
  LayerNorm,
  Linear,
  SelfAttention,
  Sequential,
  Tanh,
} from './layers.js';
export * from './losses.js';
export { compareStates, Module } from './module.js';
export {
  AdamW,
  type AdamWOptions,
  clipGradNorm,
  type ParameterGroup,
  type ScaledStepOptions,
  SGD,
  type SGDOptions,
  type StepOptions,
} from './optim.js';
export { type ScheduleOptions, schedule } from './schedules.js';
