/**
 * The elements of one list in a large JSON file, one at a time: annotation files of several hundred megabytes are one
 * object with one long list in it. Node only.
 */
import { InputError } from '../../core/errors.js';
import { type ReadProgress, readChunks } from './jsonl.js';

const MAX_ELEMENT_BYTES = 16 << 20;
const MAX_KEY_BYTES = 1 << 10;

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_LIST = 0x5b;
const CLOSE_LIST = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const SPACE = 0x20;

export interface Element {
  readonly value: unknown;
  /** From 0. */
  readonly index: number;
}

/**
 * Yields the elements of the list under `key` of the object that the file holds; `what` says what the file is. Throws
 * InputError for a missing or truncated file, one without that list, or an element that is no JSON.
 */
export async function* readJsonArray(
  path: string,
  key: string,
  what: string,
  onProgress?: ReadProgress,
): AsyncGenerator<Element> {
  const scanner = new Scanner(path, key, what);
  for await (const chunk of readChunks(path, what, onProgress)) yield* scanner.scan(chunk);
  scanner.end();
}

class Scanner {
  private depth = 0;
  private inString = false;
  private escaped = false;
  /** The bytes of the text at depth 1 that was read last: a key, when a list follows. */
  private keyBytes: number[] = [];
  private inList = false;
  private found = false;
  private index = 0;
  /** Bytes of the element so far, when it began in an earlier chunk. */
  private parts: Uint8Array[] = [];
  private partBytes = 0;
  private inElement = false;
  private isAtStart = true;
  private readonly utf8 = new TextDecoder('utf-8', { fatal: true });

  constructor(
    private readonly path: string,
    private readonly key: string,
    private readonly what: string,
  ) {}

  *scan(chunk: Uint8Array): Generator<Element> {
    let i = 0;
    if (this.isAtStart) {
      if (chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf) i = 3;
      while (i < chunk.length && chunk[i] <= SPACE) i++;
      if (i === chunk.length) return;
      if (chunk[i] !== OPEN_OBJECT) throw this.refusal('it does not start as a JSON object');
      this.isAtStart = false;
    }
    let from = this.inElement ? 0 : -1;
    for (; i < chunk.length; i++) {
      const byte = chunk[i];
      if (this.inString) {
        if (this.escaped) this.escaped = false;
        else if (byte === BACKSLASH) this.escaped = true;
        else if (byte === QUOTE) this.inString = false;
        if (this.depth === 1 && this.inString && this.keyBytes.length < MAX_KEY_BYTES) this.keyBytes.push(byte);
        continue;
      }
      if (byte <= SPACE) continue;
      if (this.inList && this.depth === 2) {
        if (byte === COMMA || byte === CLOSE_LIST) {
          if (this.inElement) yield this.element(chunk.subarray(from, i));
          else if (byte === COMMA || this.index > 0) throw this.refusal(`${this.key}[${this.index}] is missing`);
          this.inElement = false;
          from = -1;
          if (byte === CLOSE_LIST) {
            this.inList = false;
            this.depth = 1;
          }
          continue;
        }
        if (!this.inElement) {
          this.inElement = true;
          from = i;
        }
      }
      if (byte === QUOTE) {
        this.inString = true;
        if (this.depth === 1) this.keyBytes = [];
      } else if (byte === OPEN_OBJECT || byte === OPEN_LIST) {
        if (this.depth === 1 && byte === OPEN_LIST && this.isKey()) {
          if (this.found) throw this.refusal(`it has two lists ${JSON.stringify(this.key)}`);
          this.found = true;
          this.inList = true;
        }
        this.depth++;
      } else if (byte === CLOSE_OBJECT || byte === CLOSE_LIST) {
        this.depth--;
        if (this.depth < 0) throw this.refusal('its brackets do not match');
      } else if (byte === COMMA && this.depth === 1) this.keyBytes = [];
    }
    if (this.inElement) this.keep(chunk.subarray(from));
  }

  end(): void {
    if (this.isAtStart) throw this.refusal('it is empty');
    if (this.depth !== 0 || this.inString) throw this.refusal('it ends in the middle, so get it again');
    if (!this.found) throw this.refusal(`it has no list ${JSON.stringify(this.key)}`);
  }

  private isKey(): boolean {
    return Buffer.from(this.keyBytes).toString('latin1') === this.key;
  }

  private keep(part: Uint8Array): void {
    this.partBytes += part.length;
    if (this.partBytes > MAX_ELEMENT_BYTES) throw this.refusal(`${this.key}[${this.index}] is larger than 16 MiB`);
    // The stream may reuse the memory of a chunk.
    this.parts.push(Buffer.from(part));
  }

  private element(last: Uint8Array): Element {
    if (this.parts.length > 0) this.keep(last);
    const bytes = this.parts.length > 0 ? Buffer.concat(this.parts) : last;
    this.parts = [];
    this.partBytes = 0;
    const index = this.index++;
    try {
      return { value: JSON.parse(this.utf8.decode(bytes)) as unknown, index };
    } catch {
      throw this.refusal(`${this.key}[${index}] is not JSON`);
    }
  }

  private refusal(why: string): InputError {
    return new InputError(`${this.path} is not ${this.what}: ${why}.`);
  }
}
