/// <reference types="@webgpu/types" />
/** Times of single dispatches, each in a pass of its own, from timestamp queries. */
import { type KernelTimer, MOST_KERNELS, type TimedKernel } from '../../core/backend.js';

/** Dispatches that a query set can time. */
const CAPACITY = 2048;

interface Timed {
  readonly owner: number;
  readonly name: string;
  readonly replayed: boolean;
}

export class GpuTimer implements KernelTimer {
  /** Whose kernels are started. */
  owner = -1;
  private readonly queries: GPUQuerySet;
  private readonly resolved: GPUBuffer;
  private waiting: Timed[] = [];
  private count = 0;
  private readonly chunks: { readonly staging: GPUBuffer; readonly timed: readonly Timed[] }[] = [];

  constructor(
    private readonly device: GPUDevice,
    /** Submits what was encoded, and takes the timer out. */
    private readonly end: (last: GpuTimer) => void,
  ) {
    this.queries = device.createQuerySet({ type: 'timestamp', count: 2 * CAPACITY });
    // QUERY_RESOLVE and COPY_SRC.
    this.resolved = device.createBuffer({ size: 16 * CAPACITY, usage: 0x200 | 0x4 });
  }

  mark(owner: number): void {
    this.owner = owner;
  }

  /** A pass for one dispatch. */
  pass(encoder: GPUCommandEncoder, name: string, owner = this.owner, replayed = false): GPUComputePassEncoder {
    if (this.count === MOST_KERNELS) return encoder.beginComputePass();
    this.count++;
    // Here no pass is open.
    if (this.waiting.length === CAPACITY) this.resolve(encoder);
    const at = 2 * this.waiting.length;
    this.waiting.push({ owner, name, replayed });
    return encoder.beginComputePass({
      timestampWrites: { querySet: this.queries, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 },
    });
  }

  /** Puts the times so far where they can be read. */
  resolve(encoder: GPUCommandEncoder): void {
    if (this.waiting.length === 0) return;
    const size = 16 * this.waiting.length;
    encoder.resolveQuerySet(this.queries, 0, 2 * this.waiting.length, this.resolved, 0);
    // MAP_READ and COPY_DST.
    const staging = this.device.createBuffer({ size, usage: 0x1 | 0x8 });
    encoder.copyBufferToBuffer(this.resolved, 0, staging, 0, size);
    this.chunks.push({ staging, timed: this.waiting });
    this.waiting = [];
  }

  async stop(): Promise<readonly TimedKernel[]> {
    this.end(this);
    const out: TimedKernel[] = [];
    for (const { staging, timed } of this.chunks.splice(0)) {
      try {
        await staging.mapAsync(1);
        const times = new BigUint64Array(staging.getMappedRange());
        timed.forEach((kernel, i) => {
          const [start, end] = [times[2 * i], times[2 * i + 1]].map((ns) => Number(ns) / 1e6);
          out.push({ ...kernel, start, end: Math.max(start, end) });
        });
      } finally {
        staging.destroy();
      }
    }
    this.queries.destroy();
    this.resolved.destroy();
    return out;
  }
}
