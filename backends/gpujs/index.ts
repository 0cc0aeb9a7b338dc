/**
 * The backend for pages that have WebGL2 and no WebGPU: gpu.js translates our programs to shaders. In Node, where gpu.js
 * has no WebGL, it runs them on the processor. What has no program here runs as the reference does, and is told once.
 */
import type { Backend, Block, Kernel, Stats, View } from '../../core/backend.js';
import { type DType, typedArray } from '../../core/dtype.js';
import type { Expr } from '../../core/expr.js';
import { inNode } from '../../core/runtime.js';
import { copy } from './copy.js';
import { compileExpression } from './elementwise.js';
import { KernelTable, teller } from './fallbacks.js';
import { load, store } from './host.js';
import { createKernels } from './kernels/index.js';
import { loadLibrary } from './library.js';
import type { Machine } from './machine.js';
import { Memory } from './memory.js';
import { ScriptEngine } from './script.js';
import { TextureEngine } from './textures.js';

/**
 * A backend on gpu.js. Throws InputError when the package is not installed, and in a page without WebGL2 or without
 * float textures to draw into.
 */
export async function createBackend(): Promise<Backend> {
  const GPU = await loadLibrary();
  const engine = inNode() ? new ScriptEngine(GPU) : new TextureEngine(GPU);
  const stats: Stats = { liveBytes: 0, liveBlocks: 0, peakBytes: 0, launches: 0 };
  return new GpujsBackend({ engine, memory: new Memory(engine, stats) }, stats);
}

class GpujsBackend implements Backend {
  readonly name = 'gpujs';
  readonly caps = {
    dtypes: new Set(['float32', 'float16', 'bfloat16', 'int32', 'uint8', 'bool'] as const),
    storageOnly: new Set(['float16', 'bfloat16'] as const),
  };
  readonly details: Backend['details'];
  readonly kernels: ReadonlyMap<string, Kernel>;
  readonly host: NonNullable<Backend['host']>;
  readonly #tell = teller();
  readonly #compiled = new WeakMap<Expr, Kernel>();

  constructor(
    private readonly machine: Machine,
    readonly stats: Stats,
  ) {
    this.details = machine.engine.details;
    this.kernels = new KernelTable(createKernels(machine), this.#tell);
    const { memory } = machine;
    this.host = {
      load: (view: View) => load(view, memory.bytes(view.block)),
      store: (view: View, values: Float64Array) => store(view, memory.bytesToWrite(view.block), values),
      array: (block: Block, dtype: DType, byteOffset: number, length: number) =>
        typedArray(dtype, memory.bytesToWrite(block), byteOffset, length),
    };
  }

  compile(key: string, expr: Expr): Kernel {
    let kernel = this.#compiled.get(expr);
    if (!kernel) {
      kernel = this.#tell(key, compileExpression(this.machine, expr));
      this.#compiled.set(expr, kernel);
    }
    return kernel;
  }

  alloc(bytes: number): Block {
    return this.machine.memory.alloc(bytes);
  }

  free(block: Block): void {
    this.machine.memory.free(block);
  }

  write(block: Block, byteOffset: number, bytes: Uint8Array): void {
    if (byteOffset + bytes.length > block.bytes) throw new RangeError('write past the end of a block');
    new Uint8Array(this.machine.memory.bytesToWrite(block), byteOffset, bytes.length).set(bytes);
  }

  async read(block: Block, byteOffset: number, byteLength: number): Promise<Uint8Array> {
    if (byteOffset + byteLength > block.bytes) throw new RangeError('read past the end of a block');
    return new Uint8Array(this.machine.memory.bytes(block).slice(byteOffset, byteOffset + byteLength));
  }

  copy(from: View, to: View): void {
    copy(this.machine, from, to);
    this.stats.launches++;
  }

  async sync(): Promise<void> {
    this.machine.engine.wait();
  }

  async dispose(): Promise<void> {
    await this.machine.engine.dispose();
  }
}
