/** The one linear memory that all kernels and workers share, and typed arrays over it. */
import type { Block } from '../../../core/backend.js';
import { InputError } from '../../../core/errors.js';
import { RESERVED_BYTES } from '../workers/control.js';
import { Allocator } from './allocator.js';

const PAGE = 65536;
/** One page less than 4 GiB: engines cap a typed array below 2^32 elements. */
const MAXIMUM_PAGES = 65535;
const INITIAL_PAGES = 256;
/** Vector kernels may read (never write) up to this far past the end of an array. */
const SLACK = 256;

/** A block of the wasm memory. */
export class WasmBlock implements Block {
  constructor(
    readonly bytes: number,
    readonly pointer: number,
  ) {}
}

export class Heap {
  readonly memory: WebAssembly.Memory;
  readonly maximumPages: number;
  u8!: Uint8Array;
  u16!: Uint16Array;
  i32!: Int32Array;
  f32!: Float32Array;
  f64!: Float64Array;
  private readonly allocator: Allocator;

  /** Throws an InputError when the engine gives no memory at all. */
  constructor(readonly shared: boolean) {
    let memory: WebAssembly.Memory | null = null;
    let pages = MAXIMUM_PAGES;
    // A system that limits address space may refuse to reserve all 4 GiB.
    for (; pages >= INITIAL_PAGES * 4 && !memory; ) {
      try {
        memory = new WebAssembly.Memory({ initial: INITIAL_PAGES, maximum: pages, shared });
      } catch {
        pages = Math.floor(pages / 2);
      }
    }
    if (!memory) {
      throw new InputError(
        'The wasm backend expected at least 64 MiB of WebAssembly memory, but the system gave none.',
      );
    }
    this.memory = memory;
    this.maximumPages = pages;
    this.refresh();
    this.allocator = new Allocator(RESERVED_BYTES, INITIAL_PAGES * PAGE - SLACK, (bytes) => this.extend(bytes));
  }

  /** Bytes the memory has now. */
  get size(): number {
    return this.u8.length;
  }

  alloc(bytes: number): WasmBlock {
    const pointer = this.allocator.alloc(bytes);
    if (pointer === null) {
      const limit = (this.maximumPages * PAGE) / 2 ** 30;
      throw new InputError(
        `The wasm backend was asked for ${megabytes(bytes)} MB more than fit into its memory, which ends at ` +
          `${limit > 3.9 ? '4 GiB (wasm32)' : `${limit.toFixed(1)} GiB here`}; use a smaller model, batch or image.`,
      );
    }
    return new WasmBlock(bytes, pointer);
  }

  free(block: WasmBlock): void {
    this.allocator.free(block.pointer);
  }

  private extend(bytes: number): number | null {
    const have = this.size / PAGE;
    const need = Math.ceil(bytes / PAGE);
    // Growing is slow, unused pages are free: take a share of what is there already.
    for (const pages of [Math.max(need, 256, have >>> 3), need]) {
      const step = Math.min(pages, this.maximumPages - have);
      if (step < need) return null;
      try {
        this.memory.grow(step);
      } catch {
        continue;
      }
      this.refresh();
      return this.size - SLACK;
    }
    return null;
  }

  private refresh(): void {
    const buffer = this.memory.buffer;
    this.u8 = new Uint8Array(buffer);
    this.u16 = new Uint16Array(buffer);
    this.i32 = new Int32Array(buffer);
    this.f32 = new Float32Array(buffer);
    this.f64 = new Float64Array(buffer);
  }
}

const megabytes = (bytes: number): string => (bytes / 2 ** 20).toFixed(bytes < 2 ** 23 ? 2 : 0);
