/** The GPU backend: WGSL kernels on Dawn in Node and on the browser's WebGPU in a page. */
import type {
  Backend,
  Block,
  Ceilings,
  Kernel,
  KernelTimer,
  Recording,
  Residence,
  Stats,
  View,
} from '../../core/backend.js';
import type { DType } from '../../core/dtype.js';
import type { Expr } from '../../core/expr.js';
import { watching } from '../../core/watch.js';
import { copy } from './copy.js';
import { type DeviceOptions, type OpenGpu, openDevice } from './device.js';
import { compileExpression } from './elementwise.js';
import { loadTuning, tune } from './gemm/tuner.js';
import { createKernels } from './kernels/index.js';
import type { GpuBlock } from './memory.js';
import { GpuRecording } from './recording.js';
import { Runtime } from './runtime.js';

/** A webgpu backend with a device of its own; `dispose` gives it back. Throws InputError where there is no GPU. */
export async function createBackend(options: DeviceOptions = {}): Promise<Backend> {
  const backend = new WebGpuBackend(await openDevice(options));
  await backend.loadTuning();
  return backend;
}

class WebGpuBackend implements Backend {
  readonly name = 'webgpu';
  readonly caps: Backend['caps'];
  readonly details: Backend['details'];
  readonly kernels: ReadonlyMap<string, Kernel>;
  readonly stats: Stats = { liveBytes: 0, liveBlocks: 0, peakBytes: 0, launches: 0 };
  private readonly runtime: Runtime;
  private readonly compiled = new WeakMap<Expr, Kernel>();
  /** Expressions by key. */
  private readonly keys = new Map<string, number>();

  constructor(open: OpenGpu) {
    this.runtime = new Runtime(open, this.stats);
    const { facts, device } = open;
    this.details = {
      adapter: facts.description,
      vendor: facts.vendor,
      architecture: facts.architecture,
      float16: facts.half,
      matrixUnits: facts.matrices.length > 0,
      subgroups: facts.subgroups ? `${facts.subgroupMinSize} to ${facts.subgroupMaxSize}` : 'none',
      largestTensorMB: Math.floor(device.limits.maxBufferSize / 2 ** 20),
    };
    const dtypes: DType[] = ['float32', 'float16', 'bfloat16', 'int32', 'uint8', 'bool'];
    const storageOnly: DType[] = facts.half ? ['bfloat16'] : ['bfloat16', 'float16'];
    this.caps = { dtypes: new Set(dtypes), storageOnly: new Set(storageOnly) };
    this.kernels = createKernels(this.runtime);
  }

  compile(key: string, expr: Expr): Kernel {
    let kernel = this.compiled.get(expr);
    if (!kernel) {
      // Another expression under a known key gets code of its own.
      const before = this.keys.get(key) ?? 0;
      this.keys.set(key, before + 1);
      kernel = compileExpression(this.runtime, before === 0 ? key : `${key}#${before}`, expr);
      this.compiled.set(expr, kernel);
    }
    return kernel;
  }

  alloc(bytes: number, residence?: Residence | null): Block {
    const block = this.runtime.memory.alloc(bytes, (residence ?? null) !== null);
    const { stats } = this;
    stats.liveBytes += bytes;
    stats.liveBlocks++;
    stats.peakBytes = Math.max(stats.peakBytes, stats.liveBytes);
    return block;
  }

  free(block: Block): void {
    this.runtime.memory.free(block as GpuBlock);
    this.stats.liveBytes -= block.bytes;
    this.stats.liveBlocks--;
  }

  write(block: Block, byteOffset: number, bytes: Uint8Array): void {
    if (byteOffset + bytes.length > block.bytes) throw new RangeError('write past the end of a block');
    this.runtime.write(block as GpuBlock, byteOffset, bytes);
  }

  read(block: Block, byteOffset: number, byteLength: number): Promise<Uint8Array> {
    if (byteOffset + byteLength > block.bytes) throw new RangeError('read past the end of a block');
    return this.runtime.read(block as GpuBlock, byteOffset, byteLength);
  }

  copy(from: View, to: View): void {
    copy(this.runtime, from, to);
  }

  warm(fn: () => void): Promise<void> {
    const { stats } = this;
    const { launches } = stats;
    return this.runtime.warm(() => {
      try {
        fn();
      } finally {
        // Nothing was started.
        stats.launches = launches;
      }
    });
  }

  timeKernels(): KernelTimer | null {
    return this.runtime.startTimer();
  }

  async ceilings(): Promise<Ceilings> {
    await this.sync();
    const { measureCeilings } = await import('./ceilings.js');
    return measureCeilings(this.runtime.device, this.runtime.facts);
  }

  record(): Recording {
    return new GpuRecording(this.runtime);
  }

  /** What earlier runs measured on this adapter. */
  loadTuning(): Promise<void> {
    return loadTuning(this.runtime);
  }

  tune(log?: (line: string) => void): Promise<number> {
    return tune(this.runtime, { log });
  }

  sync(): Promise<void> {
    // At once: a step that is captured could never wait for the rejection.
    const error = watching()?.reading('sync');
    if (error) throw error;
    return this.runtime.sync();
  }

  dispose(): Promise<void> {
    return this.runtime.dispose();
  }
}
