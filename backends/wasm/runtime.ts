/** Kernels as modules made on demand: their cache, their arguments, and their launch on the pool. */
import type { View } from '../../core/backend.js';
import { bytesOf } from '../../core/dtype.js';
import { type FunctionBuilder, f32, i32, type Local, ModuleBuilder } from './assembler/index.js';
import type { Heap, WasmBlock } from './memory/heap.js';
import { ARGUMENTS, type Entry, RESERVED_BYTES } from './workers/control.js';
import type { Pool, SharedCode } from './workers/pool.js';

/** Names and types of a kernel's arguments. */
export type Fields = Readonly<Record<string, 'i32' | 'f32'>>;
/** The arguments as locals of the kernel. */
export type Arguments<F extends Fields> = { readonly [K in keyof F]: Local<F[K]> };
/** Values of the arguments; addresses are byte addresses. */
export type Values<F extends Fields> = { readonly [K in keyof F]: number };

/** Body of a kernel: does chunk number `chunk`; `scratch` is memory of the running thread alone. */
export type Body<F extends Fields> = (
  f: FunctionBuilder,
  a: Arguments<F>,
  chunk: Local<'i32'>,
  scratch: Local<'i32'>,
) => void;

/** A compiled kernel. `extra` are words behind the named arguments. */
export type Launch<F extends Fields> = (
  values: Values<F>,
  chunks: number,
  options?: { readonly scratch?: number; readonly extra?: readonly number[] },
) => void;

const ARGUMENT_WORDS = (RESERVED_BYTES - ARGUMENTS) / 4;

export class Runtime {
  private readonly launches = new Map<string, Launch<Fields>>();
  private codes = 0;
  private scratch: WasmBlock | null = null;

  constructor(
    readonly heap: Heap,
    readonly pool: Pool,
  ) {}

  /** Threads that work on a launch. */
  get threads(): number {
    return this.pool.threads;
  }

  /** Address of a view's first element. */
  address(view: View): number {
    const { pointer, parked } = view.block as WasmBlock;
    if (parked) throw new Error('the address of a parked block was asked for');
    return pointer + view.offset * bytesOf(view.dtype);
  }

  /** The same, 0 for a missing operand. */
  addressOf(view: View | null): number {
    return view === null ? 0 : this.address(view);
  }

  /** Memory for the time of one call, outside the statistics. */
  temporary<T>(bytes: number, use: (pointer: number, block: WasmBlock) => T): T {
    const block = this.heap.alloc(bytes);
    try {
      return use(block.pointer, block);
    } finally {
      this.heap.free(block);
    }
  }

  /**
   * The kernel of a key, built at first use: `build` may add helper functions to the module and returns the body of
   * the entry. Equal keys must mean equal code.
   */
  kernel<const F extends Fields>(key: string, fields: F, build: (m: ModuleBuilder) => Body<F>): Launch<F> {
    const known = this.launches.get(key);
    if (known) return known as unknown as Launch<F>;
    const launch = this.makeLaunch(fields, this.compile(fields, build));
    this.launches.set(key, launch as unknown as Launch<Fields>);
    return launch;
  }

  private compile<const F extends Fields>(fields: F, build: (m: ModuleBuilder) => Body<F>): SharedCode {
    const m = new ModuleBuilder();
    const body = build(m);
    const run = m.func(['i32', 'i32', 'i32'], null, (f) => {
      const [args, chunk, scratch] = f.params as Local<'i32'>[];
      const entries = Object.entries(fields).map(([name, type], i) => [
        name,
        type === 'i32' ? f.let(i32.load(args, 4 * i)) : f.let(f32.load(args, 4 * i)),
      ]);
      body(f, Object.fromEntries(entries) as Arguments<F>, chunk, scratch);
    });
    m.export('run', run);
    const { heap } = this;
    const bytes = m.encode({ shared: heap.shared, maximumPages: heap.maximumPages });
    const module = new WebAssembly.Module(bytes as Uint8Array<ArrayBuffer>);
    const instance = new WebAssembly.Instance(module, { env: { memory: heap.memory } });
    let pointer = 0;
    if (this.threads > 1) {
      pointer = heap.alloc(bytes.length).pointer;
      heap.u8.set(bytes, pointer);
    }
    return { id: ++this.codes, pointer, length: bytes.length, entry: instance.exports.run as Entry };
  }

  private makeLaunch<F extends Fields>(fields: F, code: SharedCode): Launch<F> {
    const names = Object.keys(fields);
    const isInt = names.map((name) => fields[name] === 'i32');
    const base = ARGUMENTS / 4;
    return (values, chunks, options) => {
      const { heap } = this;
      const scratchBytes = options?.scratch ?? 0;
      const scratch = scratchBytes > 0 ? this.scratchFor(scratchBytes) : 0;
      for (let i = 0; i < names.length; i++) {
        if (isInt[i]) heap.i32[base + i] = values[names[i]];
        else heap.f32[base + i] = values[names[i]];
      }
      const extra = options?.extra;
      if (extra) {
        if (names.length + extra.length > ARGUMENT_WORDS) throw new RangeError('too many kernel arguments');
        for (let i = 0; i < extra.length; i++) heap.i32[base + names.length + i] = extra[i];
      }
      this.pool.run(code, chunks, scratch, this.scratchStride);
    };
  }

  private scratchStride = 0;

  /** Scratch memory of every thread, kept from launch to launch. */
  private scratchFor(bytes: number): number {
    if (!this.scratch || this.scratchStride < bytes) {
      if (this.scratch) this.heap.free(this.scratch);
      this.scratch = null;
      this.scratchStride = Math.ceil(bytes / 4096) * 4096 + 64;
      this.scratch = this.heap.alloc(this.scratchStride * this.threads);
    }
    return this.scratch.pointer;
  }
}

/** Splits n items so that a chunk costs about `target`: how many items a chunk takes, and how many chunks there are. */
export function split(n: number, costOfItem: number, target: number): { per: number; chunks: number } {
  const per = Math.max(1, Math.min(n, Math.ceil(target / Math.max(costOfItem, 1e-9))));
  return { per, chunks: Math.ceil(n / per) };
}
