/** The CPU backend: SIMD kernels that we assemble ourselves, run by a pool of workers over one shared memory. */

import type { Backend, Block, Kernel, Residence, Stats } from '../../core/backend.js';
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
  /** Bytes of WebAssembly memory at most; default: the 4 GiB that wasm32 can address. */
  readonly memoryBytes?: number;
}

/** A wasm backend with a memory and workers of its own; `dispose` ends them. */
export async function createBackend(options: WasmOptions = {}): Promise<Backend> {
  const wanted = Math.max(1, Math.floor(options.threads ?? (await processorCount())));
  const shared = wanted > 1 && canShareMemory();
  const heap = new Heap(shared, options.memoryBytes);
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
    this.kernels = new Map(
      Array.from(createKernels(runtime), ([name, kernel]) => [
        name,
        name === 'adamwStep' ? kernel : this.using(kernel),
      ]),
    );
    this.host = {
      load: (view) => this.with([view.block], () => host.load(heap, view, runtime.address(view))),
      store: (view, values) => this.with([view.block], () => host.store(heap, view, runtime.address(view), values)),
      array: (block, dtype, byteOffset, length) =>
        this.with([block], () =>
          typedArray(dtype, heap.memory.buffer, (block as WasmBlock).pointer + byteOffset, length),
        ),
    };
  }

  /** Calls `fn` while blocks have addresses. */
  private with<T>(blocks: readonly Block[], fn: () => T): T {
    const states = (blocks as readonly WasmBlock[]).filter((block) => block.isState);
    if (states.length === 0) return fn();
    const { heap } = this.runtime;
    for (const block of states) heap.use(block);
    try {
      return fn();
    } finally {
      heap.release(states);
    }
  }

  /** A kernel to which its operands come from where they are parked. (The optimiser's goes to them.) */
  private using(kernel: Kernel): Kernel {
    return {
      strided: kernel.strided,
      plan: (inputs, attrs, outputs) => {
        const run = kernel.plan(inputs, attrs, outputs);
        if (!run || !inputs.some((x) => (x?.block as WasmBlock | undefined)?.isState)) return run;
        const blocks = inputs.flatMap((x) => (x ? [x.block] : []));
        return (made) => this.with(blocks, () => run(made));
      },
    };
  }

  compile(key: string, expr: Expr): Kernel | null {
    let kernel = this.compiled.get(expr);
    if (kernel === undefined) {
      // Another expression under a known key gets code of its own.
      const before = this.keys.get(key) ?? 0;
      this.keys.set(key, before + 1);
      const made = compileExpression(this.runtime, before === 0 ? key : `${key}#${before}`, expr);
      kernel = made && this.using(made);
      this.compiled.set(expr, kernel);
    }
    return kernel;
  }

  alloc(bytes: number, residence?: Residence | null): Block {
    const block = this.runtime.heap.alloc(bytes, residence === 'state');
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
    const { parked, pointer } = block as WasmBlock;
    if (parked) parked.set(bytes, byteOffset);
    else this.runtime.heap.u8.set(bytes, pointer + byteOffset);
  }

  async read(block: Block, byteOffset: number, byteLength: number): Promise<Uint8Array> {
    if (byteOffset + byteLength > block.bytes) throw new RangeError('read past the end of a block');
    const { parked, pointer } = block as WasmBlock;
    if (parked) return parked.slice(byteOffset, byteOffset + byteLength);
    const start = pointer + byteOffset;
    const out = new Uint8Array(byteLength);
    out.set(this.runtime.heap.u8.subarray(start, start + byteLength));
    return out;
  }

  copy(...[from, to]: Parameters<Backend['copy']>): void {
    this.with([from.block, to.block], () => copy(this.runtime, from, to));
    this.stats.launches++;
  }

  /** Every call has finished when it returns. */
  async sync(): Promise<void> {}

  async dispose(): Promise<void> {
    await this.runtime.pool.dispose();
  }
}
