/** The CPU backend: SIMD kernels that we assemble ourselves, run by a pool of workers over one shared memory. */

import type { Backend, Block, Kernel, Stats } from '../../core/backend.js';
import { typedArray } from '../../core/dtype.js';
import type { Expr } from '../../core/expr.js';
import { canShareMemory, processorCount } from '../../core/runtime.js';
import { copy } from './copy.js';
import { compileExpression } from './elementwise.js';
import * as host from './host.js';
import { createKernels } from './kernels/index.js';
import { Heap, type WasmBlock } from './memory/heap.js';
import { Runtime } from './runtime.js';
import { Pool } from './workers/pool.js';

export interface WasmOptions {
  /** Threads that compute, the calling one included; default: one a processor. */
  readonly threads?: number;
}

/** A wasm backend with a memory and workers of its own; `dispose` ends them. */
export async function createBackend(options: WasmOptions = {}): Promise<Backend> {
  const wanted = Math.max(1, Math.floor(options.threads ?? (await processorCount())));
  const shared = wanted > 1 && canShareMemory();
  const heap = new Heap(shared);
  const runtime = new Runtime(heap, await Pool.start(heap, wanted));
  return new WasmBackend(runtime);
}

class WasmBackend implements Backend {
  readonly name = 'wasm';
  readonly caps = {
    dtypes: new Set(['float32', 'float16', 'bfloat16', 'int32', 'uint8', 'bool'] as const),
    storageOnly: new Set(['float16', 'bfloat16'] as const),
  };
  readonly kernels: ReadonlyMap<string, Kernel>;
  readonly stats: Stats = { liveBytes: 0, liveBlocks: 0, peakBytes: 0, launches: 0 };
  readonly host: Backend['host'];
  private readonly compiled = new WeakMap<Expr, Kernel | null>();
  /** Expressions by key. */
  private readonly keys = new Map<string, number>();

  constructor(private readonly runtime: Runtime) {
    const { heap } = runtime;
    this.kernels = createKernels(runtime);
    this.host = {
      load: (view) => host.load(heap, view, runtime.address(view)),
      store: (view, values) => host.store(heap, view, runtime.address(view), values),
      array: (block, dtype, byteOffset, length) =>
        typedArray(dtype, heap.memory.buffer, (block as WasmBlock).pointer + byteOffset, length),
    };
  }

  compile(key: string, expr: Expr): Kernel | null {
    let kernel = this.compiled.get(expr);
    if (kernel === undefined) {
      // Another expression under a known key gets code of its own.
      const before = this.keys.get(key) ?? 0;
      this.keys.set(key, before + 1);
      kernel = compileExpression(this.runtime, before === 0 ? key : `${key}#${before}`, expr);
      this.compiled.set(expr, kernel);
    }
    return kernel;
  }

  alloc(bytes: number): Block {
    const block = this.runtime.heap.alloc(bytes);
    const { stats } = this;
    stats.liveBytes += bytes;
    stats.liveBlocks++;
    stats.peakBytes = Math.max(stats.peakBytes, stats.liveBytes);
    return block;
  }

  free(block: Block): void {
    this.runtime.heap.free(block as WasmBlock);
    this.stats.liveBytes -= block.bytes;
    this.stats.liveBlocks--;
  }

  write(block: Block, byteOffset: number, bytes: Uint8Array): void {
    if (byteOffset + bytes.length > block.bytes) throw new RangeError('write past the end of a block');
    this.runtime.heap.u8.set(bytes, (block as WasmBlock).pointer + byteOffset);
  }

  async read(block: Block, byteOffset: number, byteLength: number): Promise<Uint8Array> {
    if (byteOffset + byteLength > block.bytes) throw new RangeError('read past the end of a block');
    const start = (block as WasmBlock).pointer + byteOffset;
    const out = new Uint8Array(byteLength);
    out.set(this.runtime.heap.u8.subarray(start, start + byteLength));
    return out;
  }

  copy(...[from, to]: Parameters<Backend['copy']>): void {
    copy(this.runtime, from, to);
    this.stats.launches++;
  }

  /** Every call has finished when it returns. */
  async sync(): Promise<void> {}

  async dispose(): Promise<void> {
    await this.runtime.pool.dispose();
  }
}
