/** Blocks: bytes on the host, floats on the device, or both; each side is made from the other when it is asked for. */
import type { Block, Stats, View } from '../../core/backend.js';
import { bytesOf, type DType, fromBfloat, fromHalf, typedArray } from '../../core/dtype.js';
import { InputError } from '../../core/errors.js';
import type { DeviceArray, Engine } from './engine.js';

/** Blocks of this many bytes do not keep a copy on the host beside the one on the device. */
const LARGE = 2 ** 20;
/** Integers up to here are exact as floats. */
const EXACT = 2 ** 24;

class GpuBlock implements Block {
  /** At least one side holds the content, or neither when nothing was written yet. */
  host: ArrayBuffer | null = null;
  device: DeviceArray | null = null;
  /** What the device's floats stand for; those of 16 bits are there beside the host's alone. */
  dtype: DType = 'float32';
  constructor(readonly bytes: number) {}
}

export class Memory {
  constructor(
    private readonly engine: Engine,
    private readonly stats: Stats,
  ) {}

  alloc(bytes: number): Block {
    const { stats } = this;
    stats.liveBytes += bytes;
    stats.liveBlocks++;
    stats.peakBytes = Math.max(stats.peakBytes, stats.liveBytes);
    return new GpuBlock(bytes);
  }

  free(block: Block): void {
    const b = block as GpuBlock;
    b.device?.free();
    b.device = b.host = null;
    this.stats.liveBytes -= b.bytes;
    this.stats.liveBlocks--;
  }

  /** Whether the block's content lies on the device. */
  isOnDevice(block: Block): boolean {
    return (block as GpuBlock).device !== null;
  }

  /** The bytes, for reading. */
  bytes(block: Block): ArrayBuffer {
    const b = block as GpuBlock;
    b.host ??= b.device ? this.#fetched(b, b.device) : newMemory(b.bytes);
    return b.host;
  }

  /** The bytes, for writing: the device's copy goes. */
  bytesToWrite(block: Block): ArrayBuffer {
    const memory = this.bytes(block);
    const b = block as GpuBlock;
    b.device?.free();
    b.device = null;
    return memory;
  }

  #fetched(block: GpuBlock, device: DeviceArray): ArrayBuffer {
    const floats = this.engine.download(device);
    const fits = floats.byteOffset === 0 && floats.buffer.byteLength >= block.bytes;
    if (block.dtype === 'float32' && fits) return floats.buffer as ArrayBuffer;
    const memory = newMemory(block.bytes);
    typedArray(block.dtype, memory, 0, floats.length).set(floats);
    return memory;
  }

  /** The whole block of a view as floats on the device, or null where they would not be exact or not fit. */
  device(view: View): DeviceArray | null {
    const block = view.block as GpuBlock;
    const { dtype } = view;
    if (block.device && block.dtype === dtype) return block.device;
    const length = Math.floor(block.bytes / bytesOf(dtype));
    if (length > this.engine.mostElements) return null;
    const memory = this.bytes(block);
    let floats: Float32Array;
    if (dtype === 'float32') floats = new Float32Array(memory, 0, length);
    else if (dtype === 'bool' || dtype === 'uint8') floats = Float32Array.from(new Uint8Array(memory, 0, length));
    else if (dtype === 'int32') {
      const integers = new Int32Array(memory, 0, length);
      if (!integers.every((v) => v <= EXACT && v >= -EXACT)) return null;
      floats = Float32Array.from(integers);
    } else if (dtype === 'float16' || dtype === 'bfloat16') {
      floats = Float32Array.from(new Uint16Array(memory, 0, length), dtype === 'float16' ? fromHalf : fromBfloat);
    } else return null;
    block.device?.free();
    block.device = this.engine.upload(floats);
    block.dtype = dtype;
    if (dtype === 'float32' && block.bytes >= LARGE) block.host = null;
    return block.device;
  }

  /** Makes what a program computed the content of a whole block. */
  adopt(view: View, array: DeviceArray): void {
    const block = view.block as GpuBlock;
    block.device?.free();
    block.device = array;
    block.dtype = view.dtype;
    block.host = null;
  }
}

/** Rounded up, so that every dtype can view the whole block. */
function newMemory(bytes: number): ArrayBuffer {
  try {
    return new ArrayBuffer(Math.ceil(bytes / 8) * 8);
  } catch {
    throw new InputError(
      `The gpujs backend got no memory for ${Math.ceil(bytes / 2 ** 20)} MB; use a smaller model, batch or image.`,
    );
  }
}
