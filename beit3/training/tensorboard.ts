/**
 * TensorBoard event files: records in TFRecord framing (length, masked CRC-32C of the length, data, masked CRC-32C of the
 * data), each a protobuf `Event` (tensorflow/core/util/event.proto). Only scalars are written.
 */
import { diskError, ensureFolder } from '../../checkpoints/sink.js';

const TABLE = new Uint32Array(256);
for (let n = 0; n < 256; n++) {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  TABLE[n] = c;
}

/** The CRC-32C (Castagnoli) of bytes (RFC 3720). */
export function crc32c(bytes: Uint8Array): number {
  let c = ~0;
  for (const byte of bytes) c = (c >>> 8) ^ TABLE[(c ^ byte) & 0xff];
  return ~c >>> 0;
}

/** Rotated and shifted, so that a sum over data that holds sums is no fixed point. */
function masked(bytes: Uint8Array): number {
  const c = crc32c(bytes);
  return (((c >>> 15) | (c << 17)) + 0xa282ead8) >>> 0;
}

/** A record as it lies in the file. */
export function frame(data: Uint8Array): Uint8Array {
  const out = new Uint8Array(16 + data.length);
  const view = new DataView(out.buffer);
  view.setBigUint64(0, BigInt(data.length), true);
  view.setUint32(8, masked(out.subarray(0, 8)), true);
  out.set(data, 12);
  view.setUint32(12 + data.length, masked(data), true);
  return out;
}

/** A message in protobuf's encoding. */
class Message {
  private readonly bytes: number[] = [];

  /** Whole numbers from 0 to 2^53. */
  varint(field: number, value: number): this {
    return this.raw(field * 8).raw(value);
  }

  double(field: number, value: number): this {
    return this.fixed(field * 8 + 1, 8, (view) => view.setFloat64(0, value, true));
  }

  float(field: number, value: number): this {
    return this.fixed(field * 8 + 5, 4, (view) => view.setFloat32(0, value, true));
  }

  nested(field: number, content: Message | string): this {
    const bytes = typeof content === 'string' ? new TextEncoder().encode(content) : content.encoded();
    this.raw(field * 8 + 2).raw(bytes.length);
    for (const byte of bytes) this.bytes.push(byte);
    return this;
  }

  encoded(): Uint8Array {
    return Uint8Array.from(this.bytes);
  }

  private raw(value: number): this {
    for (let rest = value; ; rest = Math.floor(rest / 128)) {
      if (rest < 128) {
        this.bytes.push(rest);
        return this;
      }
      this.bytes.push((rest % 128) | 128);
    }
  }

  private fixed(key: number, size: number, set: (view: DataView) => void): this {
    const bytes = new Uint8Array(size);
    set(new DataView(bytes.buffer));
    this.raw(key).bytes.push(...bytes);
    return this;
  }
}

/** Event: wall_time = 1, step = 2, file_version = 3, summary = 5, session_log = 7. */
const event = (seconds: number, step: number): Message => new Message().double(1, seconds).varint(2, step);
/** SessionLog.START: readers drop what they have from this step on. */
const SESSION_START = new Message().varint(1, 1);

/** The event that every file begins with. */
export function versionEvent(seconds: number): Uint8Array {
  return new Message().double(1, seconds).nested(3, 'brain.Event:2').encoded();
}

/** The event that says that numbers from `step` on come anew. */
export function restartEvent(seconds: number, step: number): Uint8Array {
  return event(seconds, step).nested(7, SESSION_START).encoded();
}

/** Scalars of one step: tag -> value. */
export function scalarsEvent(seconds: number, step: number, values: Readonly<Record<string, number>>): Uint8Array {
  const summary = new Message();
  // Summary.value = 1; Value.tag = 1, Value.simple_value = 2.
  for (const [tag, value] of Object.entries(values)) summary.nested(1, new Message().nested(1, tag).float(2, value));
  return event(seconds, step).nested(5, summary).encoded();
}

/** Writes scalars to an event file of its own (Node). What was added is in the file after `flush`. */
export class TensorBoardWriter {
  private pending: Uint8Array[] = [];

  private constructor(readonly path: string) {}

  /** `done` is the number of steps that stay; numbers of later ones in other files are dropped by readers. Throws InputError when the folder cannot be written to. */
  static async open(folder: string, done: number): Promise<TensorBoardWriter> {
    const { readdir } = await import('node:fs/promises');
    const { join } = await import('node:path');
    const { hostname } = await import('node:os');
    await ensureFolder(folder).catch((error: unknown) => diskError(folder, error));
    const now = Date.now() / 1000;
    // Readers take files in the order of their names.
    const name = `events.out.tfevents.${now.toFixed(3)}.${hostname().replace(/[^\w.-]/g, '_')}`;
    const writer = new TensorBoardWriter(join(folder, name));
    writer.pending.push(frame(versionEvent(now)));
    const isFirst = (await readdir(folder)).length === 0;
    if (!isFirst) writer.pending.push(frame(restartEvent(now, done === 0 ? 0 : done + 1)));
    await writer.flush();
    return writer;
  }

  add(step: number, values: Readonly<Record<string, number>>): void {
    this.pending.push(frame(scalarsEvent(Date.now() / 1000, step, values)));
  }

  /** Throws InputError when the disk refuses. */
  async flush(): Promise<void> {
    if (this.pending.length === 0) return;
    const { appendFile } = await import('node:fs/promises');
    const size = this.pending.reduce((n, bytes) => n + bytes.length, 0);
    const all = new Uint8Array(size);
    let at = 0;
    for (const bytes of this.pending) {
      all.set(bytes, at);
      at += bytes.length;
    }
    this.pending = [];
    await appendFile(this.path, all).catch((error: unknown) => diskError(this.path, error));
  }
}
