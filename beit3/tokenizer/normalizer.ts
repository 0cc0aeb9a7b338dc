/** What SentencePiece does to a text before it is cut into pieces, byte for byte. */

import type { Charsmap } from './charsmap.js';
import type { NormalizerRules } from './modelFile.js';
import type { ByteTrie } from './trie.js';

const SPACE = 0x20;
/** U+2581, which stands for a space inside pieces, in UTF-8. */
const SPACE_SYMBOL = [0xe2, 0x96, 0x81];

/** Bytes that grow. */
class Buffer {
  bytes = new Uint8Array(256);
  length = 0;

  push(byte: number): void {
    if (this.length === this.bytes.length) {
      const larger = new Uint8Array(2 * this.length);
      larger.set(this.bytes);
      this.bytes = larger;
    }
    this.bytes[this.length++] = byte;
  }
}

/** How many bytes a UTF-8 character has, by its first one; stray continuation bytes count as one. */
export function characterLength(first: number): number {
  return first < 0xc0 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

export class Normalizer {
  /** The current step: text[at .. at + taken] becomes from[start .. end]. */
  private from: Uint8Array = new Uint8Array(0);
  private start = 0;
  private end = 0;
  private taken = 0;

  /** `kept` holds the pieces that must come through unchanged: user-defined ones. */
  constructor(
    private readonly rules: NormalizerRules,
    private readonly charsmap: Charsmap | undefined,
    private readonly kept?: ByteTrie,
  ) {}

  /** `text` is valid UTF-8; the result is too unless the file's table says otherwise. */
  normalize(text: Uint8Array): Uint8Array {
    const { addDummyPrefix, removeExtraWhitespaces: squeeze, treatWhitespaceAsSuffix } = this.rules;
    let at = 0;
    if (squeeze) {
      for (; at < text.length; at += this.taken) {
        this.step(text, at);
        if (this.end - this.start !== 1 || this.from[this.start] !== SPACE) break;
      }
    }
    if (at >= text.length) return new Uint8Array(0);

    const space = this.rules.escapeWhitespaces ? SPACE_SYMBOL : [SPACE];
    const out = new Buffer();
    const pushSpace = (): void => {
      for (const byte of space) out.push(byte);
    };

    if (addDummyPrefix && !treatWhitespaceAsSuffix) pushSpace();
    let afterSpace = squeeze;
    for (; at < text.length; at += this.taken) {
      this.step(text, at);
      const { from, end } = this;
      let i = this.start;
      while (afterSpace && i < end && from[i] === SPACE) i++;
      if (i < end) {
        for (; i < end; i++) {
          if (from[i] === SPACE) pushSpace();
          else out.push(from[i]);
        }
        afterSpace = squeeze && from[end - 1] === SPACE;
      }
    }
    if (squeeze) {
      while (endsWith(out, space)) out.length -= space.length;
    }
    if (addDummyPrefix && treatWhitespaceAsSuffix) pushSpace();
    return out.bytes.subarray(0, out.length);
  }

  /** Takes the next character, or more where a rule says so. */
  private step(text: Uint8Array, at: number): void {
    this.from = text;
    this.start = at;
    const kept = this.kept === undefined ? 0 : longest(this.kept, text, at);
    if (kept > 0) {
      this.taken = kept;
    } else if (this.charsmap?.find(text, at)) {
      this.taken = this.charsmap.matched;
      this.from = this.charsmap.replacements;
      this.start = this.charsmap.start;
      this.end = this.charsmap.end;
      return;
    } else {
      this.taken = Math.min(characterLength(text[at]), text.length - at);
    }
    this.end = at + this.taken;
  }
}

/** Length of the longest key of `trie` that begins text[at], 0 where there is none. */
function longest(trie: ByteTrie, text: Uint8Array, at: number): number {
  let length = 0;
  let node = 0;
  for (let i = at; i < text.length; i++) {
    node = trie.step(node, text[i]);
    if (node < 0) break;
    if (trie.valueAt(node) >= 0) length = i + 1 - at;
  }
  return length;
}

function endsWith({ bytes, length }: Buffer, tail: number[]): boolean {
  return length >= tail.length && tail.every((byte, i) => bytes[length - tail.length + i] === byte);
}
