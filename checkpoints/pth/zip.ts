import { InputError } from '../../core/errors.js';
import { shown } from '../shown.js';
import { type ByteSource, SliceSource } from '../source.js';

/** A file in a zip archive. */
export interface ZipEntry {
  readonly name: string;
  /** Bytes when unpacked. */
  readonly size: number;
  /** Whether it is compressed. */
  readonly deflated: boolean;
  /** Its content. Stored entries are windows of the archive; deflated ones are unpacked into memory on first use. */
  open(): Promise<ByteSource>;
}

const END = 0x06054b50;
const END64 = 0x06064b50;
const LOCATOR64 = 0x07064b50;
const CENTRAL = 0x02014b50;
const LOCAL = 0x04034b50;
/** An end record and the longest comment. */
const TAIL_BYTES = 22 + 65535;
/** Some million entries. */
const MAX_DIRECTORY_BYTES = 1 << 26;
const MAX_INFLATED_BYTES = 2 ** 31;
/** Deflate cannot pack tighter than this. */
const MAX_DEFLATE_RATIO = 1032;

/** The entries of a zip archive by name, zip64 included. Throws InputError for a damaged or encrypted archive. */
export async function readZip(source: ByteSource): Promise<Map<string, ZipEntry>> {
  const directory = await findDirectory(source);
  const bytes = await source.read(directory.offset, directory.size);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const entries = new Map<string, ZipEntry>();
  const inflated: InflateCache = {};
  for (let at = 0; at < bytes.length; ) {
    if (at + 46 > bytes.length || view.getUint32(at, true) !== CENTRAL) damaged(source, 'its directory is broken');
    const flags = view.getUint16(at + 8, true);
    const method = view.getUint16(at + 10, true);
    const nameEnd = at + 46 + view.getUint16(at + 28, true);
    const extraEnd = nameEnd + view.getUint16(at + 30, true);
    const next = extraEnd + view.getUint16(at + 32, true);
    if (next > bytes.length) damaged(source, 'its directory is broken');
    const name = new TextDecoder().decode(bytes.subarray(at + 46, nameEnd));
    let [packed, size, header] = [20, 24, 42].map((field) => view.getUint32(at + field, true));
    // Fields that do not fit 32 bits follow, in this order, in extra field 1.
    const wide = extraField(view, nameEnd, extraEnd, 1);
    let field = wide?.start ?? 0;
    const take = (value: number): number => {
      if (value !== 0xffffffff || !wide) return value;
      if (field + 8 > wide.end) damaged(source, 'its directory is broken');
      field += 8;
      return Number(view.getBigUint64(field - 8, true));
    };
    size = take(size);
    packed = take(packed);
    header = take(header);
    if (flags & 1) throw new InputError(`${source.name} is encrypted; give an unencrypted checkpoint.`);
    if (entries.has(name)) damaged(source, `it holds two entries named ${shown(name)}`);
    if (method !== 0 && method !== 8) {
      throw new InputError(
        `${source.name} packs ${shown(name)} with zip method ${method}; store it without compression.`,
      );
    }
    if (header + 30 + packed > source.size || (method === 0 && packed !== size)) {
      damaged(source, `its entry ${shown(name)} lies outside the file`);
    }
    if (method === 8 && (size > packed * MAX_DEFLATE_RATIO + 1024 || size > MAX_INFLATED_BYTES)) {
      throw new InputError(`${source.name} packs ${size} bytes as ${shown(name)}; store it without compression.`);
    }
    const open = async (): Promise<ByteSource> => {
      const stored = new SliceSource(source, await dataOffset(source, header, packed), packed);
      return method === 0 ? stored : new InflateSource(stored, name, size, inflated);
    };
    entries.set(name, { name, size, deflated: method === 8, open });
    at = next;
  }
  return entries;
}

async function findDirectory(source: ByteSource): Promise<{ offset: number; size: number }> {
  const length = Math.min(TAIL_BYTES, source.size);
  const start = source.size - length;
  const tail = await source.read(start, length);
  const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength);
  let end = length - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end--;
  if (end < 0) {
    throw new InputError(
      `${source.name} is truncated: the directory at the end of a PyTorch checkpoint is missing; get it again.`,
    );
  }
  let size = view.getUint32(end + 12, true);
  let offset = view.getUint32(end + 16, true);
  let limit = start + end;
  if (end >= 20 && view.getUint32(end - 20, true) === LOCATOR64) {
    const at = Number(view.getBigUint64(end - 12, true));
    if (at + 56 > start + end - 20) damaged(source, 'its directory is broken');
    const record = await source.read(at, 56);
    const wide = new DataView(record.buffer, record.byteOffset, 56);
    if (wide.getUint32(0, true) !== END64) damaged(source, 'its directory is broken');
    size = Number(wide.getBigUint64(40, true));
    offset = Number(wide.getBigUint64(48, true));
    limit = at;
  }
  if (offset + size > limit) damaged(source, 'its directory lies outside the file');
  if (size > MAX_DIRECTORY_BYTES) damaged(source, `its directory takes ${size} bytes`);
  return { offset, size };
}

function extraField(view: DataView, start: number, end: number, id: number): { start: number; end: number } | null {
  for (let at = start; at + 4 <= end; ) {
    const next = at + 4 + view.getUint16(at + 2, true);
    if (next > end) return null;
    if (view.getUint16(at, true) === id) return { start: at + 4, end: next };
    at = next;
  }
  return null;
}

/** The local header repeats the name with an extra field of its own length. */
async function dataOffset(source: ByteSource, header: number, packed: number): Promise<number> {
  const local = await source.read(header, 30);
  const view = new DataView(local.buffer, local.byteOffset, 30);
  if (view.getUint32(0, true) !== LOCAL) damaged(source, 'an entry does not lie where its directory says');
  const offset = header + 30 + view.getUint16(26, true) + view.getUint16(28, true);
  if (offset + packed > source.size) damaged(source, 'an entry lies outside the file');
  return offset;
}

function damaged(source: ByteSource, why: string): never {
  throw new InputError(`${source.name} is a damaged zip archive: ${why}; get it again.`);
}

/** The last entry unpacked, shared by the entries of one archive so that only one is held. */
interface InflateCache {
  name?: string;
  bytes?: Promise<Uint8Array>;
}

class InflateSource implements ByteSource {
  readonly name: string;
  constructor(
    private readonly packed: ByteSource,
    private readonly entry: string,
    readonly size: number,
    private readonly cache: InflateCache,
  ) {
    this.name = packed.name;
  }

  async read(offset: number, length: number, into?: Uint8Array): Promise<Uint8Array> {
    if (this.cache.name !== this.entry) {
      this.cache.name = this.entry;
      this.cache.bytes = this.inflate();
    }
    const part = (await this.cache.bytes!).subarray(offset, offset + length);
    if (part.length !== length) damaged(this, `${shown(this.entry)} is too short`);
    if (into === undefined) return part.slice();
    into.set(part);
    return into.subarray(0, length);
  }

  async close(): Promise<void> {}

  private async inflate(): Promise<Uint8Array> {
    const { packed, entry, size } = this;
    let sent = 0;
    const compressed = new ReadableStream<Uint8Array<ArrayBuffer>>({
      async pull(controller) {
        const length = Math.min(1 << 16, packed.size - sent);
        if (length === 0) return controller.close();
        controller.enqueue((await packed.read(sent, length)) as Uint8Array<ArrayBuffer>);
        sent += length;
      },
    });
    const bytes = new Uint8Array(size);
    let total = 0;
    const reader = compressed.pipeThrough(new DecompressionStream('deflate-raw')).getReader();
    try {
      for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
        if (total + chunk.value.length <= size) bytes.set(chunk.value, total);
        total += chunk.value.length;
        if (total > size) break;
      }
    } catch {
      // Broken data: told below.
      total = -1;
    } finally {
      await reader.cancel().catch(() => {});
    }
    if (total !== size) damaged(packed, `${shown(entry)} cannot be unpacked`);
    return bytes;
  }
}
