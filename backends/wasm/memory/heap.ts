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

/** A block of the wasm memory, or parked outside of it. */
export class WasmBlock implements Block {
  /** Its content while it is parked; then it has no address. */
  parked: Uint8Array | null = null;

  constructor(
    readonly bytes: number,
    public pointer: number,
    /** Whether it may be parked while nobody asks for it. */
    readonly isState = false,
  ) {}
}

const NOWHERE = -1;

export class Heap {
  readonly memory: WebAssembly.Memory;
  readonly maximumPages: number;
  u8!: Uint8Array;
  u16!: Uint16Array;
  i32!: Int32Array;
  f32!: Float32Array;
  f64!: Float64Array;
  /** Bytes that are parked. */
  parkedBytes = 0;
  private readonly allocator: Allocator;
  /** States that nobody asks for at the moment: they may be parked. */
  private readonly idle = new Set<WasmBlock>();
  /** The newest state, which has no content yet. */
  private newest: WasmBlock | null = null;

  /** Takes `most` bytes at most. Throws an InputError when the engine gives no memory at all. */
  constructor(
    readonly shared: boolean,
    most = MAXIMUM_PAGES * PAGE,
  ) {
    let memory: WebAssembly.Memory | null = null;
    let pages = Math.max(INITIAL_PAGES * 4, Math.min(MAXIMUM_PAGES, Math.floor(most / PAGE)));
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

  /** Memory for `bytes`; idle states are parked where it is full. */
  alloc(bytes: number, isState = false): WasmBlock {
    const block = new WasmBlock(bytes, this.place(bytes), isState);
    if (isState) {
      if (this.newest) this.idle.add(this.newest);
      this.newest = block;
    }
    return block;
  }

  free(block: WasmBlock): void {
    this.busy(block);
    if (block.parked) this.parkedBytes -= block.bytes;
    else this.allocator.free(block.pointer);
    block.parked = null;
  }

  /** Says that a state is asked for, which stays where it is, or comes back, until it is released. */
  use(block: WasmBlock): void {
    this.busy(block);
    const { parked, bytes } = block;
    if (!parked) return;
    block.pointer = this.place(bytes);
    this.u8.set(parked, block.pointer);
    block.parked = null;
    this.parkedBytes -= bytes;
  }

  /** Says that states keep their places, parked ones too, until they are released. */
  hold(states: readonly WasmBlock[]): void {
    for (const block of states) this.busy(block);
  }

  /** Says that states are not asked for any more. */
  release(states: readonly WasmBlock[]): void {
    for (const block of states) if (block.isState && !block.parked) this.idle.add(block);
  }

  private busy(block: WasmBlock): void {
    this.idle.delete(block);
    if (this.newest === block) this.newest = null;
  }

  private place(bytes: number): number {
    let pointer = this.allocator.alloc(bytes);
    while (pointer === null && this.park(bytes)) pointer = this.allocator.alloc(bytes);
    if (pointer === null) {
      const limit = (this.maximumPages * PAGE) / 2 ** 30;
      throw new InputError(
        `The wasm backend was asked for ${megabytes(bytes)} MB more than fit into its memory, which ends at ` +
          `${limit > 3.9 ? '4 GiB (wasm32)' : `${limit.toFixed(1)} GiB here`}; use a smaller model, batch or image.`,
      );
    }
    return pointer;
  }

  /** Parks the smallest idle state that makes room for so many bytes, else the largest; false where there is none. */
  private park(bytes: number): boolean {
    let best: WasmBlock | null = null;
    for (const block of this.idle) {
      const fits = block.bytes >= bytes;
      const isBetter = !best || (best.bytes >= bytes ? fits && block.bytes < best.bytes : block.bytes > best.bytes);
      if (isBetter) best = block;
    }
    if (!best) return false;
    this.idle.delete(best);
    best.parked = new Uint8Array(best.bytes);
    best.parked.set(this.u8.subarray(best.pointer, best.pointer + best.bytes));
    this.parkedBytes += best.bytes;
    this.allocator.free(best.pointer);
    best.pointer = NOWHERE;
    return true;
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
