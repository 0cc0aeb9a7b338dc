/**
 * Reading of tar archives (POSIX ustar, with the long names of pax and GNU) as they come, one member in memory at a time.
 * Archives come from anywhere: sizes are bounded, and nothing is ever written where a name says.
 */
import { InputError } from '../../../core/errors.js';
import { compressed } from './shards.js';

const BLOCK = 512;
/** Of the records that hold long names. */
const MOST_HEADER_BYTES = 1 << 20;

/** A regular file of an archive. */
export interface TarMember {
  readonly name: string;
  readonly size: number;
  /** Null for one that is larger than it may be. */
  readonly bytes: Uint8Array | null;
  /** Places of its first header in the archive, and of what lies behind it. */
  readonly start: number;
  readonly next: number;
}

const NOTHING = new Uint8Array(0);

/** Takes bytes from chunks, in whatever pieces these come. */
class ByteQueue {
  #chunk: Uint8Array = NOTHING;
  #at = 0;
  /** Bytes taken or passed over so far. */
  taken = 0;
  readonly #chunks: AsyncIterator<Uint8Array>;

  constructor(chunks: AsyncIterable<Uint8Array>) {
    this.#chunks = chunks[Symbol.asyncIterator]();
  }

  /** The next bytes where they lie, for now, if they lie there together. */
  glance(count: number): Uint8Array | null {
    const end = this.#at + count;
    if (end > this.#chunk.length) return null;
    const bytes = this.#chunk.subarray(this.#at, end);
    this.#at = end;
    this.taken += count;
    return bytes;
  }

  /** The next bytes, in memory of their own; fewer only at the end. */
  async take(count: number): Promise<Uint8Array> {
    const out = new Uint8Array(count);
    let done = 0;
    while (done < count && (this.#at < this.#chunk.length || (await this.#more()))) {
      const part = this.#chunk.subarray(this.#at, this.#at + count - done);
      out.set(part, done);
      this.#at += part.length;
      done += part.length;
    }
    this.taken += done;
    return done === count ? out : out.slice(0, done);
  }

  /** Passes over bytes; gives how many there were. */
  async skip(count: number): Promise<number> {
    let done = 0;
    while (done < count && (this.#at < this.#chunk.length || (await this.#more()))) {
      const part = Math.min(count - done, this.#chunk.length - this.#at);
      this.#at += part;
      done += part;
    }
    this.taken += done;
    return done;
  }

  /** Goes on to the next chunk that is not empty; false at the end. */
  async #more(): Promise<boolean> {
    do {
      const next = await this.#chunks.next();
      if (next.done) return false;
      [this.#chunk, this.#at] = [next.value, 0];
    } while (this.#chunk.length === 0);
    return true;
  }

  async close(): Promise<void> {
    await this.#chunks.return?.();
  }
}

const utf8 = new TextDecoder();
const BLANK = 32;
const [ZERO, SEVEN] = [48, 55];

/** A text of at most `length` bytes, up to its first zero. */
function textAt(block: Uint8Array, at: number, length: number): string {
  const zero = block.indexOf(0, at);
  const end = zero < 0 || zero > at + length ? at + length : zero;
  return end === at ? '' : utf8.decode(block.subarray(at, end));
}

/** A number in octal digits, or in binary where the first bit is set (GNU). NaN for neither. */
function numberAt(block: Uint8Array, at: number, length: number): number {
  const end = at + length;
  let value = block[at] & 0x7f;
  if (block[at] & 0x80) {
    for (let i = at + 1; i < end; i++) value = value * 256 + block[i];
    return value;
  }
  value = 0;
  let i = at;
  while (i < end && block[i] === BLANK) i++;
  for (; i < end && block[i] >= ZERO && block[i] <= SEVEN; i++) value = value * 8 + block[i] - ZERO;
  while (i < end && block[i] === BLANK) i++;
  return i === end || block[i] === 0 ? value : Number.NaN;
}

/** Whether the sum in the header is that of its bytes, its own field counted as blanks. */
function isHeader(block: Uint8Array): boolean {
  let sum = 8 * BLANK;
  for (let i = 0; i < 148; i++) sum += block[i];
  for (let i = 156; i < BLOCK; i++) sum += block[i];
  return numberAt(block, 148, 8) === sum;
}

function isZero(block: Uint8Array): boolean {
  return block.every((byte) => byte === 0);
}

/** The path in a header; POSIX keeps the beginning of a long one in a field of its own. */
function pathIn(header: Uint8Array): string {
  const own = textAt(header, 0, 100);
  const isPosix = header[345] !== 0 && textAt(header, 257, 6) === 'ustar';
  return isPosix ? `${textAt(header, 345, 155)}/${own}` : own;
}

/** The settings of a pax record: `length key=value\n`. */
function paxOf(bytes: Uint8Array): Map<string, string> {
  const found = new Map<string, string>();
  for (const line of utf8.decode(bytes).split('\n')) {
    const match = /^\d+ ([^=]+)=(.*)$/s.exec(line);
    if (match) found.set(match[1], match[2]);
  }
  return found;
}

/**
 * The regular files of an archive whose bytes come in `chunks`, which begin at its byte `from` (a header). `most` says how
 * many bytes are read of a file at most; a larger one is passed over. Throws InputError for what is no archive, or is
 * damaged or cut off.
 */
export async function* readTar(
  chunks: AsyncIterable<Uint8Array>,
  name: string,
  { from = 0, most }: { readonly from?: number; readonly most: (name: string) => number },
): AsyncGenerator<TarMember> {
  const queue = new ByteQueue(chunks);
  const cutOff = (): InputError =>
    new InputError(`${name} is cut off after ${from + queue.taken} bytes; get it again.`);
  let long: { name?: string; size?: number } = {};
  let start = from;
  try {
    while (true) {
      const header = queue.glance(BLOCK) ?? (await queue.take(BLOCK));
      // Two blocks of zeros end an archive; many writers leave them out.
      if (header.length === 0 || (header[0] === 0 && isZero(header))) return;
      if (start === 0 && header[0] === 0x1f && header[1] === 0x8b) throw compressed(name);
      if (header.length < BLOCK) throw cutOff();
      if (!isHeader(header)) {
        const at = from + queue.taken - BLOCK;
        throw new InputError(`${name} is no tar archive, or damaged at byte ${at}; expected a header there.`);
      }
      const size = long.size ?? numberAt(header, 124, 12);
      if (!Number.isSafeInteger(size) || size < 0)
        throw new InputError(`${name} is damaged: a member has no size at byte ${from + queue.taken - BLOCK}.`);
      const kind = String.fromCharCode(header[156]);
      const padding = (BLOCK - (size % BLOCK)) % BLOCK;
      if (kind === 'x' || kind === 'L') {
        if (size > MOST_HEADER_BYTES) throw new InputError(`${name} is damaged: a name of ${size} bytes.`);
        const bytes = await queue.take(size);
        if (bytes.length + (await queue.skip(padding)) < size + padding) throw cutOff();
        if (kind === 'L') long.name = textAt(bytes, 0, size);
        else {
          const pax = paxOf(bytes);
          const said = pax.get('size');
          long = { name: pax.get('path') ?? long.name, size: said === undefined ? long.size : Number(said) };
        }
        continue;
      }
      const isFile = kind === '0' || kind === '\0' || kind === '7';
      const path = long.name ?? pathIn(header);
      long = {};
      const isTaken = isFile && size <= most(path);
      // What lies there together costs no waiting.
      const bytes = isTaken ? (queue.glance(size)?.slice() ?? (await queue.take(size))) : null;
      const rest = padding + (isTaken ? 0 : size);
      if (bytes && bytes.length < size) throw cutOff();
      if (!queue.glance(rest) && (await queue.skip(rest)) < rest) throw cutOff();
      const next = from + queue.taken;
      if (isFile) yield { name: path, size, bytes, start, next };
      start = next;
    }
  } finally {
    await queue.close();
  }
}
