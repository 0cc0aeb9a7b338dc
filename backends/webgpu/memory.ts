/// <reference types="@webgpu/types" />
/** GPU memory: buffers by size class that are used again, and slabs in which resident blocks lie side by side. */
import type { Block } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';

/** A range of a GPU buffer. */
export interface GpuBlock extends Block {
  readonly buffer: GPUBuffer;
  /** Number of the buffer: what bind groups are known by. */
  readonly id: number;
  /** Where the range begins, a multiple of 256. */
  readonly start: number;
  /** Bytes from `start` on that belong to the block. */
  readonly room: number;
  readonly slab: Slab | null;
  /** Whether it is a part of a block that is too large to be bound as one. */
  readonly window?: true;
}

/** A large buffer that is given out in ranges. */
interface Slab {
  readonly buffer: GPUBuffer;
  readonly id: number;
  readonly size: number;
  /** Free ranges by their start, in order. */
  free: { start: number; size: number }[];
}

const ALIGNMENT = 256;
const STORAGE = 0x80 | 0x4 | 0x8;
/** Free bytes that are kept for later in any case; beyond, as many as were in use at once: a training step needs them again. */
const KEPT_BYTES = 2 ** 30;
const FIRST_SLAB = 2 ** 24;
const LARGEST_SLAB = 2 ** 30;

const roundUp = (n: number, step: number): number => Math.ceil(n / step) * step;

/** Sizes of which buffers are made: four to a doubling, so that at most a fifth is unused. */
export function sizeClass(bytes: number): number {
  if (bytes <= ALIGNMENT) return ALIGNMENT;
  const step = Math.max(ALIGNMENT, 2 ** (Math.floor(Math.log2(bytes - 1)) - 2));
  return roundUp(bytes, step);
}

/** Where memory comes from while something is recorded. */
export interface Pool {
  alloc(bytes: number): GpuBlock;
  free(block: GpuBlock): void;
}

export class Memory {
  /** Serves every request while it is set. */
  pool: Pool | null = null;
  /** Pools by the buffers that they have. */
  readonly owners = new Map<number, Pool>();
  /** Free buffers by size class. */
  private readonly idle = new Map<number, { buffer: GPUBuffer; id: number }[]>();
  private readonly slabs: Slab[] = [];
  private idleBytes = 0;
  private ids = 0;
  /** Bytes of buffers in use outside the slabs, and the most so far. */
  private usedBytes = 0;
  private mostBytes = 0;
  /** Bytes of all buffers that exist. */
  reservedBytes = 0;
  /** Buffers that exist. */
  buffers = 0;

  constructor(
    private readonly device: GPUDevice,
    /** Submits what was encoded: a buffer may be destroyed only after that. */
    private readonly flush: () => void,
    /** Forgets what was cached for a buffer. */
    private readonly forget: (id: number) => void,
  ) {}

  alloc(bytes: number, resident: boolean): GpuBlock {
    if (this.pool) return this.pool.alloc(bytes);
    if (resident && bytes > 0) return this.allocResident(bytes);
    return this.take(bytes);
  }

  /** A buffer's block, for whoever asks. */
  take(bytes: number): GpuBlock {
    const size = sizeClass(bytes);
    this.usedBytes += size;
    this.mostBytes = Math.max(this.mostBytes, this.usedBytes);
    const known = this.idle.get(size)?.pop();
    if (known) this.idleBytes -= size;
    const { buffer, id } = known ?? this.create(size);
    return { bytes, buffer, id, start: 0, room: size, slab: null };
  }

  free(block: GpuBlock): void {
    if (block.slab) {
      this.release(block.slab, block.start, block.room);
      return;
    }
    const owner = this.owners.get(block.id);
    if (owner) {
      owner.free(block);
      return;
    }
    let list = this.idle.get(block.room);
    if (!list) {
      list = [];
      this.idle.set(block.room, list);
    }
    list.push({ buffer: block.buffer, id: block.id });
    this.idleBytes += block.room;
    this.usedBytes -= block.room;
    const kept = Math.max(KEPT_BYTES, this.mostBytes);
    if (this.idleBytes > kept) this.trim(kept / 2);
  }

  /** Destroys free buffers, the largest first, until at most `bytes` of them are left. */
  trim(bytes = 0): void {
    if (this.idleBytes <= bytes) return;
    this.flush();
    for (const size of [...this.idle.keys()].sort((a, b) => b - a)) {
      const list = this.idle.get(size) ?? [];
      while (list.length > 0 && this.idleBytes > bytes) {
        const { buffer, id } = list.pop() as { buffer: GPUBuffer; id: number };
        this.idleBytes -= size;
        this.destroy(buffer, id, size);
      }
    }
  }

  /** Destroys everything. */
  dispose(): void {
    this.trim();
    for (const { buffer, id, size } of this.slabs.splice(0)) this.destroy(buffer, id, size);
  }

  private create(size: number): { buffer: GPUBuffer; id: number } {
    const most = this.device.limits.maxBufferSize;
    if (size > most) {
      throw new InputError(
        `This GPU has buffers of at most ${Math.floor(most / 2 ** 20)} MB, and a tensor needs ${Math.ceil(size / 2 ** 20)} MB; use a smaller model, batch or image, or the device wasm.`,
      );
    }
    const buffer = this.device.createBuffer({ size, usage: STORAGE });
    this.reservedBytes += size;
    this.buffers++;
    return { buffer, id: ++this.ids };
  }

  private destroy(buffer: GPUBuffer, id: number, size: number): void {
    buffer.destroy();
    this.forget(id);
    this.reservedBytes -= size;
    this.buffers--;
  }

  private allocResident(bytes: number): GpuBlock {
    const room = roundUp(bytes, ALIGNMENT);
    for (const slab of this.slabs) {
      const range = slab.free.find((r) => r.size >= room);
      if (!range) continue;
      const { start } = range;
      range.start += room;
      range.size -= room;
      if (range.size === 0) slab.free.splice(slab.free.indexOf(range), 1);
      return { bytes, buffer: slab.buffer, id: slab.id, start, room, slab };
    }
    const { maxBufferSize, maxStorageBufferBindingSize } = this.device.limits;
    const most = Math.min(LARGEST_SLAB, maxBufferSize, maxStorageBufferBindingSize);
    // Each slab is as large as all before it together.
    const grown = this.slabs.reduce((n, s) => n + s.size, FIRST_SLAB);
    const size = Math.max(room, Math.min(most, grown));
    const slab: Slab = { ...this.create(roundUp(size, ALIGNMENT)), size, free: [{ start: 0, size }] };
    this.slabs.push(slab);
    return this.allocResident(bytes);
  }

  private release(slab: Slab, start: number, size: number): void {
    const { free } = slab;
    let at = free.findIndex((r) => r.start > start);
    if (at < 0) at = free.length;
    free.splice(at, 0, { start, size });
    for (const i of [at, at - 1]) {
      const [a, b] = [free[i], free[i + 1]];
      if (a && b && a.start + a.size === b.start) {
        a.size += b.size;
        free.splice(i + 1, 1);
      }
    }
    if (free.length !== 1 || free[0].size !== slab.size) return;
    this.flush();
    this.slabs.splice(this.slabs.indexOf(slab), 1);
    this.destroy(slab.buffer, slab.id, slab.size);
  }
}
