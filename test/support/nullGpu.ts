/** A GPU that computes nothing and checks every shader: Dawn without a driver, with every feature that it knows. */
import { type AdapterFacts, factsOf } from '../../backends/webgpu/device.js';
import { createKernels } from '../../backends/webgpu/kernels/index.js';
import { makeProgram, textOf } from '../../backends/webgpu/program.js';
import { Runtime } from '../../backends/webgpu/runtime.js';
import type { Kernel, Stats, View } from '../../core/backend.js';
import { bytesOf, type DType } from '../../core/dtype.js';
import { contiguousStrides, sizeOf } from '../../core/layout.js';

const FEATURES = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'];

export interface NullGpu {
  readonly rt: Runtime;
  readonly kernels: ReadonlyMap<string, Kernel>;
  /** A contiguous view in memory of its own. */
  view(shape: readonly number[], dtype: DType): View;
}

/** Its facts are what the adapter says, but for those given. */
export async function nullGpu(given: Partial<AdapterFacts> = {}): Promise<NullGpu> {
  const dawn = await import('webgpu');
  Object.assign(globalThis, dawn.globals);
  const gpu = dawn.create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
  const adapter = await gpu.requestAdapter();
  if (!adapter) throw new Error('Dawn has no null adapter');
  const requiredFeatures = FEATURES.filter((f) => (adapter.features as ReadonlySet<string>).has(f)) as GPUFeatureName[];
  const device = await adapter.requestDevice({ requiredFeatures });
  const stats: Stats = { liveBytes: 0, liveBlocks: 0, peakBytes: 0, launches: 0 };
  const rt = new Runtime({ gpu, adapter, device, facts: { ...factsOf(gpu, adapter), ...given } }, stats);
  const view = (shape: readonly number[], dtype: DType): View => ({
    block: rt.memory.alloc(Math.max(4, sizeOf(shape) * bytesOf(dtype)), false),
    dtype,
    shape,
    strides: contiguousStrides(shape),
    offset: 0,
  });
  return { rt, kernels: createKernels(rt), view };
}

/**
 * Checks the shaders of every kernel that `run` starts, on a GPU with limits that the null adapter itself does not have; the
 * keys of those kernels. Throws for a shader that does not compile.
 */
export async function checkShaders(
  { rt }: NullGpu,
  limits: Readonly<Record<string, number>>,
  run: () => void,
): Promise<string[]> {
  const texts = new Map<string, string>();
  const { device, facts } = rt;
  Object.defineProperty(device, 'limits', { value: { ...limits }, configurable: true });
  rt.kernel = (key, define) => {
    if (!texts.has(key)) texts.set(key, textOf(makeProgram(key, define(), facts), 0));
    return () => {};
  };
  run();
  device.onuncapturederror = () => {};
  for (const [key, code] of texts) {
    const { messages } = await device.createShaderModule({ code }).getCompilationInfo();
    const error = messages.find((m) => m.type === 'error');
    if (error) throw new Error(`${key}, line ${error.lineNum}: ${error.message}`);
  }
  return [...texts.keys()];
}
