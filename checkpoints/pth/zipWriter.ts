import type { ByteSink } from '../sink.js';
import { crc32 } from './crc32.js';

/** PyTorch maps storages from the file and wants them at such offsets. */
const ALIGNMENT = 64;
const WIDE = 0xffffffff;
/** UTF-8 names, and checksums that follow the content: both as PyTorch sets them. */
const FLAGS = 0x0808;
/** 1980-01-01 00:00, the same for every file so that equal content gives equal bytes. */
const DOS_DATE = 0x21;

interface Written {
  name: Uint8Array;
  size: number;
  crc: number;
  offset: number;
}

/** Fields of a zip record, little-endian. */
class Record {
  private readonly bytes: number[] = [];
  u16(...values: number[]): this {
    for (const value of values) this.bytes.push(value & 0xff, (value >>> 8) & 0xff);
    return this;
  }
  u32(...values: number[]): this {
    for (const value of values) this.u16(value & 0xffff, value >>> 16);
    return this;
  }
  u64(...values: number[]): this {
    for (const value of values) this.u32(value % 2 ** 32, Math.floor(value / 2 ** 32));
    return this;
  }
  raw(bytes: Iterable<number>): this {
    this.bytes.push(...bytes);
    return this;
  }
  done(): Uint8Array {
    return Uint8Array.from(this.bytes);
  }
}

/** Writes a zip archive of stored, aligned entries in one pass; zip64 where sizes or offsets need it. */
export class ZipWriter {
  private at = 0;
  private readonly entries: Written[] = [];

  constructor(private readonly sink: ByteSink) {}

  /** Adds an entry of exactly `size` bytes, which `produce` writes in order. */
  async add(name: string, size: number, produce: (sink: ByteSink) => Promise<void>): Promise<void> {
    const entry: Written = { name: new TextEncoder().encode(name), size, crc: 0, offset: this.at };
    const wide = size >= WIDE;
    const extra = new Record();
    if (wide) extra.u16(1, 16).u64(0, 0);
    const fields = extra.done();
    const content = this.at + 30 + entry.name.length + fields.length + 4;
    const padding = (ALIGNMENT - (content % ALIGNMENT)) % ALIGNMENT;
    const header = new Record()
      .u32(0x04034b50)
      .u16(wide ? 45 : 0, FLAGS, 0, 0, DOS_DATE)
      .u32(0, wide ? WIDE : 0, wide ? WIDE : 0)
      .u16(entry.name.length, fields.length + 4 + padding)
      .raw(entry.name)
      .raw(fields)
      // The field in which PyTorch pads: 'FB'.
      .u16(0x4246, padding)
      .raw(new Uint8Array(padding).fill(0x5a));
    await this.put(header.done());
    await produce({
      write: (bytes) => {
        entry.crc = crc32(bytes, entry.crc);
        return this.put(bytes);
      },
    });
    const descriptor = new Record().u32(0x08074b50, entry.crc);
    await this.put((wide ? descriptor.u64(size, size) : descriptor.u32(size, size)).done());
    this.entries.push(entry);
  }

  /** Writes the directory. */
  async finish(): Promise<void> {
    const start = this.at;
    for (const { name, size, crc, offset } of this.entries) {
      const extra = new Record();
      const wideSize = size >= WIDE;
      const wideOffset = offset >= WIDE;
      if (wideSize || wideOffset) {
        extra.u16(1, (wideSize ? 16 : 0) + (wideOffset ? 8 : 0));
        if (wideSize) extra.u64(size, size);
        if (wideOffset) extra.u64(offset);
      }
      const fields = extra.done();
      const version = fields.length > 0 ? 45 : 0;
      const record = new Record()
        .u32(0x02014b50)
        .u16(version, version, FLAGS, 0, 0, DOS_DATE)
        .u32(crc, wideSize ? WIDE : size, wideSize ? WIDE : size)
        .u16(name.length, fields.length, 0, 0, 0)
        .u32(0, wideOffset ? WIDE : offset)
        .raw(name)
        .raw(fields);
      await this.put(record.done());
    }
    const size = this.at - start;
    const count = this.entries.length;
    const end = new Record();
    if (start >= WIDE || count >= 0xffff) {
      end.u32(0x06064b50).u64(44).u16(45, 45).u32(0, 0).u64(count, count, size, start);
      end.u32(0x07064b50, 0).u64(this.at).u32(1);
    }
    const few = Math.min(count, 0xffff);
    end.u32(0x06054b50).u16(0, 0, few, few).u32(size, Math.min(start, WIDE)).u16(0);
    await this.put(end.done());
  }

  private async put(bytes: Uint8Array): Promise<void> {
    await this.sink.write(bytes);
    this.at += bytes.length;
  }
}
