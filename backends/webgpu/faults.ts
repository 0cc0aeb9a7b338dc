/// <reference types="@webgpu/types" />
/** What kernels find wrong: they can't throw, so they leave a number that the next read turns into an error. */
import type { View } from '../../core/backend.js';
import { OpError } from '../../core/errors.js';
import type { GpuBlock } from './memory.js';

/** WGSL for a kernel with a buffer `fault` of `atomic<u32>`: keeps the first fault of a kind and the value that caused it. */
export const FAULT = `
fn report(kind: u32, value: i32) {
  if (atomicCompareExchangeWeak(&fault[0], 0u, kind).exchanged) { atomicStore(&fault[1], bitcast<u32>(value)); }
}`;

export class Faults {
  /** Two words: the kind (0 is none) and the value. */
  static readonly BYTES = 8;
  readonly view: View;
  private readonly messages: ((value: number) => OpError)[] = [];
  private readonly buffer: GPUBuffer;

  constructor(private readonly device: GPUDevice) {
    this.buffer = device.createBuffer({ size: 256, usage: 0x80 | 0x4 | 0x8 });
    const block: GpuBlock = { bytes: 256, buffer: this.buffer, id: 0, start: 0, room: 256, slab: null };
    this.view = { block, dtype: 'int32', shape: [2], strides: [1], offset: 0 };
  }

  /** The number of a kind of fault of an op, to be told with the value that caused it. */
  kind(op: string, message: (value: number) => string): number {
    return this.messages.push((value) => new OpError(op, message(value)));
  }

  copyTo(encoder: GPUCommandEncoder, staging: GPUBuffer): void {
    encoder.copyBufferToBuffer(this.buffer, 0, staging, 0, Faults.BYTES);
  }

  /** The error in what `copyTo` has copied, if any; it is told once. */
  taken(bytes: Uint8Array): OpError | null {
    const [kind, value] = new Int32Array(bytes.slice(0, Faults.BYTES).buffer);
    if (kind === 0) return null;
    this.device.queue.writeBuffer(this.buffer, 0, new Uint32Array(2));
    return this.messages[kind - 1]?.(value) ?? null;
  }
}
