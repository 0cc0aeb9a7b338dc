/** Programs on the processor: what gpu.js offers in Node, where there is no WebGL. Device arrays are plain memory. */
import { SCRIPT_BUILTINS } from './builtins.js';
import { ARRAY, type DeviceArray, type Engine, type Program, SETTINGS } from './engine.js';
import type { Gpu, GpuConstructor, GpuKernel, ScriptFunction, ShadingFunction } from './library.js';

class MemoryArray implements DeviceArray {
  constructor(readonly values: Float32Array) {}
  get length(): number {
    return this.values.length;
  }
  free(): void {}
}

const isScript = (f: ScriptFunction | ShadingFunction): f is ScriptFunction => Array.isArray(f.argumentTypes);
const typed = (f: ScriptFunction): ScriptFunction => ({
  ...f,
  argumentTypes: f.argumentTypes.map((t) => (t === ARRAY ? TYPES.array : t)),
});

const TYPES = { array: 'Array', integer: 'Integer', number: 'Number' } as const;

/**
 * gpu.js in its mode `cpu`. Its mode `webasm` hands no arrays to functions, copies every operand at each call, and was
 * slower in a matrix product.
 */
export class ScriptEngine implements Engine {
  readonly hasQuads = false;
  readonly details = { mode: 'cpu' };
  // Its numbers are doubles: any index is exact.
  readonly mostElements = 2 ** 31;
  readonly #gpu: Gpu;
  readonly #kernels = new Map<Program, GpuKernel>();

  constructor(GPU: GpuConstructor) {
    this.#gpu = new GPU({ mode: 'cpu' });
  }

  upload(values: Float32Array): DeviceArray {
    return new MemoryArray(values);
  }

  download(array: DeviceArray): Float32Array {
    return (array as MemoryArray).values;
  }

  run(program: Program, values: readonly (DeviceArray | number)[], length: number): DeviceArray {
    let kernel = this.#kernels.get(program);
    if (!kernel) {
      const { parameters, body, functions = [] } = program;
      kernel = this.#gpu.createKernel(`function(${parameters.map(([name]) => name).join(', ')}) { ${body} }`, {
        ...SETTINGS,
        optimizeFloatMemory: false,
        argumentTypes: parameters.map(([, type]) => TYPES[type]),
        functions: [...SCRIPT_BUILTINS, ...functions.filter(isScript)].map(typed),
      });
      this.#kernels.set(program, kernel);
    }
    kernel.setOutput([length]);
    const result = kernel(...values.map((v) => (typeof v === 'number' ? v : (v as MemoryArray).values)));
    return new MemoryArray(result as Float32Array);
  }

  wait(): void {}

  async dispose(): Promise<void> {
    this.#kernels.clear();
    await this.#gpu.destroy();
  }
}
