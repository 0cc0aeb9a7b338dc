/**
 * Reading of tar archives (POSIX ustar, with the long names of pax and GNU) as they come, one member in memory at a time.
 * Archives come from anywhere: sizes are bounded, and nothing is ever written where a name says.
 */
import { InputError } from '../../../core/errors.js';

const BLOCK = 512;
/** Larger members are passed over. */
export const MOST_MEMBER_BYTES = 128 << 20;
/** Of the records that hold long names. */
const MOST_HEADER_BYTES = 1 << 20;

/** A regular file of an archive. */
export interface TarMember {
  readonly name: string;
  /** Null for one that is too large, or that `wants` refused. */
  readonly bytes: Uint8Array | null;
  /** Place of its first header in the archive. */
  readonly start: number;
}

/** Takes bytes from chunks, in whatever pieces these come. */
class ByteQueue {
  #chunk: Uint8Array = new Uint8Array(0);
  #at = 0;
  /** Bytes taken or passed over so far. */
  taken = 0;
  readonly #chunks: AsyncIterator<Uint8Array>;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The next bytes; fewer only at the end. */
  async take(count: number): Promise<Uint8Array> {
    const out = new Uint8Array(count);
    const got = await this.#walk(count, (part, at) => out.set(part, at));
    return got === count ? out : out.subarray(0, got);
  }

  skip(count: number): Promise<number> {
    return this.#walk(count, () => {});
  }

  async #walk(count: number, use: (part: Uint8Array, at: number) => void): Promise<number> {
    let done = 0;
    while (done < count) {
      if (this.#at === this.#chunk.length) {
        const next = await this.#chunks.next();
        if (next.done) break;
        [this.#chunk, this.#at] = [next.value, 0];
        continue;
      }
      const part = this.#chunk.subarray(this.#at, this.#at + count - done);
      use(part, done);
      this.#at += part.length;
      done += part.length;
    }
    this.taken += done;
    return done;
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

const text = (bytes: Uint8Array): string => {
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
};

/** A number in octal digits, or in binary where the first bit is set (GNU). NaN for neither. */
function numberOf(field: Uint8Array): number {
  if (field[0] & 0x80) return field.slice(1).reduce((n, byte) => n * 256 + byte, field[0] & 0x7f);
  const digits = text(field).trim();
  return /^[0-7]*$/.test(digits) ? Number.parseInt(digits || '0', 8) : Number.NaN;
}

/** Whether the sum in the header is that of its bytes, its own field counted as blanks. */
function isHeader(block: Uint8Array): boolean {
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += i >= 148 && i < 156 ? 32 : block[i];
  return numberOf(block.subarray(148, 156)) === sum;
}

/** The settings of a pax record: `length key=value\n`. */
function paxOf(bytes: Uint8Array): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of new TextDecoder().decode(bytes).split('\n')) {
    const match = /^\d+ ([^=]+)=(.*)$/s.exec(line);
    if (match) found.set(match[1], match[2]);
  }
  return found;
}

/**
 * The regular files of an archive whose bytes come in `chunks`, which begin at its byte `from` (a header). `wants` spares
 * what is not needed. Throws InputError for what is no archive, or is damaged or cut off.
 */
export async function* readTar(
  chunks: AsyncIterable<Uint8Array>,
  name: string,
  { from = 0, wants = () => true }: { readonly from?: number; readonly wants?: (name: string) => boolean } = {},
): AsyncGenerator<TarMember> {
  const queue = new ByteQueue(chunks);
  const cutOff = (): InputError =>
    new InputError(`${name} is cut off after ${from + queue.taken} bytes; get it again.`);
  let long: { name?: string; size?: number } = {};
  let start = from;
  try {
    while (true) {
      const header = await queue.take(BLOCK);
      // Two blocks of zeros end an archive; many writers leave them out.
      if (header.length === 0 || header.every((byte) => byte === 0)) return;
      if (header.length < BLOCK) throw cutOff();
      if (!isHeader(header)) {
        const at = from + queue.taken - BLOCK;
        throw new InputError(`${name} is no tar archive, or damaged at byte ${at}; expected a header there.`);
      }
      const size = long.size ?? numberOf(header.subarray(124, 136));
      if (!Number.isSafeInteger(size) || size < 0)
        throw new InputError(`${name} is damaged: a member has no size at byte ${from + queue.taken - BLOCK}.`);
      const kind = String.fromCharCode(header[156]);
      const padding = (BLOCK - (size % BLOCK)) % BLOCK;
      if (kind === 'x' || kind === 'L') {
        if (size > MOST_HEADER_BYTES) throw new InputError(`${name} is damaged: a name of ${size} bytes.`);
        const bytes = await queue.take(size);
        if (bytes.length + (await queue.skip(padding)) < size + padding) throw cutOff();
        if (kind === 'L') long.name = text(bytes);
        else {
          const pax = paxOf(bytes);
          const said = pax.get('size');
          long = { name: pax.get('path') ?? long.name, size: said === undefined ? long.size : Number(said) };
        }
        continue;
      }
      const isFile = kind === '0' || kind === '\0' || kind === '7';
      const prefix = text(header.subarray(257, 262)) === 'ustar' ? text(header.subarray(345, 500)) : '';
      const own = text(header.subarray(0, 100));
      const path = long.name ?? (prefix === '' ? own : `${prefix}/${own}`);
      long = {};
      const isTaken = isFile && size <= MOST_MEMBER_BYTES && wants(path);
      const bytes = isTaken ? await queue.take(size) : null;
      const passed = bytes?.length ?? (await queue.skip(size));
      if (passed + (await queue.skip(padding)) < size + padding) throw cutOff();
      if (isFile) yield { name: path, bytes, start };
      start = from + queue.taken;
    }
  } finally {
    await queue.close();
  }
}
