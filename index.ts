/** Azulejo: tensors with reverse-mode automatic differentiation on pluggable backends. */
import './core/methods.js';

export * from './autograd/index.js';
export {
  type BackendFactory,
  type BackendOptions,
  backendNames,
  disposeBackend,
  loadBackend,
  registerBackend,
  useBackend,
} from './backends/index.js';
export type { Attrs, Backend, Block, Capabilities, Kernel, Recording, Run, Spec, Stats, View } from './core/backend.js';
export { type CapturedStep, capture } from './core/capture.js';
export { defaultBackend, setDefaultBackend, warm } from './core/device.js';
export { type Call, call, call1, type Interceptor, intercept, type Next, ORDER } from './core/dispatch.js';
export { bytesOf, DTYPES, type DType, isFloat, promote, type TypedArray } from './core/dtype.js';
export { InputError, OpError } from './core/errors.js';
export { E, type Expr } from './core/expr.js';
export { type Disposable, keep, scope } from './core/memory.js';
export { definedOps, defineOp, type OpDefinition, type Operand, type Vjp } from './core/op.js';
export * from './core/ops/index.js';
export * as ops from './core/ops/index.js';
export { type Profile, type ProfileRow, Profiler } from './core/profiler.js';
export { defaultGenerator, Generator, type GeneratorState, manualSeed, philox } from './core/random.js';
export { type NestedArray, Tensor, type TensorOptions, tensor } from './core/tensor.js';
