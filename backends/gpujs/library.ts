/** What we use of the package gpu.js, and how it is loaded: the only file that knows the package. */
import { InputError, messageOf } from '../../core/errors.js';

/** A function in JavaScript that kernels call. */
export interface ScriptFunction {
  readonly name: string;
  readonly source: string;
  readonly argumentTypes: readonly string[];
  readonly returnType: string;
}

/** The same in the shading language. */
export interface ShadingFunction {
  readonly name: string;
  readonly source: string;
  readonly argumentTypes: Readonly<Record<string, string>>;
  readonly returnType: string;
}

export interface KernelSettings {
  readonly argumentTypes: readonly string[];
  readonly functions: readonly ScriptFunction[];
  /** Functions in the shading language, and text before them. */
  readonly nativeFunctions?: readonly ShadingFunction[];
  readonly injectedNative?: string;
  readonly output: readonly number[];
  readonly pipeline: boolean;
  readonly immutable: boolean;
  readonly dynamicOutput: boolean;
  readonly dynamicArguments: boolean;
  readonly precision: 'single';
  readonly tactic: 'precision';
  readonly optimizeFloatMemory: boolean;
  readonly fixIntegerDivisionAccuracy: boolean;
  readonly loopMaxIterations: number;
  readonly returnType?: string;
}

/** What a kernel draws into. */
export interface DrawnTexture {
  readonly texture: WebGLTexture;
  readonly size: ArrayLike<number>;
  /** Gives up this handle; the memory goes with the last one. */
  delete(): void;
}

export interface GpuKernel {
  (...values: unknown[]): unknown;
  setOutput(size: readonly number[]): void;
  readonly kernel: { readonly texture: DrawnTexture };
}

export interface Gpu {
  createKernel(source: string, settings: KernelSettings): GpuKernel;
  destroy(): Promise<void>;
}

export interface GpuSettings {
  readonly mode: 'webgl2' | 'cpu';
  readonly canvas?: { width: number; height: number };
  readonly context?: WebGL2RenderingContext;
}

export type GpuConstructor = new (settings: GpuSettings) => Gpu;

/** The class GPU of the package. Throws InputError when it is not installed. */
export async function loadLibrary(): Promise<GpuConstructor> {
  let loaded: unknown;
  try {
    loaded = await import('gpu.js');
  } catch (error) {
    throw new InputError(
      `The gpujs backend needs the package gpu.js; run \`npm install gpu.js\`, or give a page it under that name (${messageOf(error)}).`,
    );
  }
  // A bundler, Node and a page's import map wrap the package's one export differently.
  type Wrapped = { readonly default?: Wrapped; readonly GPU?: Wrapped & Partial<GpuConstructor> };
  const module = loaded as Wrapped;
  const found = module.GPU ?? module.default?.GPU;
  const GPU = found?.GPU ?? found;
  if (typeof GPU !== 'function')
    throw new InputError('The package gpu.js that is installed has no class GPU; install version 2.');
  return GPU as GpuConstructor;
}
