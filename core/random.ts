/**
 * Random numbers that are a function of a seed and a counter (Philox4x32-10; Salmon et al. 2011, "Parallel random
 * numbers: as easy as 1, 2, 3"): equal on every backend, in any order, and resumable from two numbers.
 */
import { InputError } from './errors.js';
import { watching } from './watch.js';

const TWO_32 = 2 ** 32;

/** 64 bits as two words, the lower first. */
export type Words = readonly [number, number];

/** A whole number below 2^53 as two words. */
export const wordsOf = (value: number): Words => [(value % TWO_32) >>> 0, Math.floor(value / TWO_32) >>> 0];

/** High word of the product of two unsigned words. */
function multiplyHigh(a: number, b: number): number {
  const [al, ah] = [a & 0xffff, a >>> 16];
  const [bl, bh] = [b & 0xffff, b >>> 16];
  const middle = ah * bl + ((al * bl) >>> 16);
  const rest = al * bh + (middle & 0xffff);
  return (ah * bh + Math.floor(middle / 65536) + Math.floor(rest / 65536)) >>> 0;
}

/**
 * Philox4x32-10: word i of `out` is word i % 4 of the block at `counter` + floor(i / 4). The counter has 128 bits, of
 * which the upper 64 are 0; `key` and `counter` are given as [low, high].
 */
export function philox(key: Words, counter: Words, out: Uint32Array): void {
  for (let i = 0; i < out.length; i += 4) {
    const low = (counter[0] >>> 0) + i / 4;
    let c0 = (low % TWO_32) >>> 0;
    let c1 = ((counter[1] >>> 0) + Math.floor(low / TWO_32)) >>> 0;
    let c2 = 0;
    let c3 = 0;
    let k0 = key[0] >>> 0;
    let k1 = key[1] >>> 0;
    for (let round = 0; round < 10; round++) {
      const h0 = multiplyHigh(0xd2511f53, c0);
      const l0 = Math.imul(0xd2511f53, c0) >>> 0;
      const h1 = multiplyHigh(0xcd9e8d57, c2);
      const l1 = Math.imul(0xcd9e8d57, c2) >>> 0;
      c0 = (h1 ^ c1 ^ k0) >>> 0;
      c1 = l1;
      c2 = (h0 ^ c3 ^ k1) >>> 0;
      c3 = l0;
      k0 = (k0 + 0x9e3779b9) >>> 0;
      k1 = (k1 + 0xbb67ae85) >>> 0;
    }
    out[i] = c0;
    if (i + 1 < out.length) out[i + 1] = c1;
    if (i + 2 < out.length) out[i + 2] = c2;
    if (i + 3 < out.length) out[i + 3] = c3;
  }
}

/** Where a generator stands; plain JSON. */
export interface GeneratorState {
  readonly seed: number;
  /** Blocks of four words drawn so far. */
  readonly counter: number;
}

/** A range of random words that belongs to one call. */
export interface Reservation {
  readonly key: Words;
  readonly counter: Words;
}

/** A stream of random numbers. Every call starts at a fresh block, so no number is used twice. */
export class Generator {
  #seed = 0;
  #counter = 0;

  /** @param seed a whole number from 0 to 2^53 - 1; default: taken from the clock and Math.random */
  constructor(seed = Math.floor(Math.random() * 2 ** 53)) {
    this.manualSeed(seed);
  }

  /** Starts over from a seed; returns itself. */
  manualSeed(seed: number): this {
    return this.restore({ seed, counter: 0 });
  }

  /** Where the stream stands, for a checkpoint. */
  state(): GeneratorState {
    return { seed: this.#seed, counter: this.#counter };
  }

  /** Continues from a saved state; returns itself. */
  restore({ seed, counter }: GeneratorState): this {
    for (const v of [seed, counter]) {
      if (!Number.isSafeInteger(v) || v < 0) {
        throw new InputError(`A random generator needs a seed and a counter from 0 to 2^53 - 1, got ${v}.`);
      }
    }
    this.#seed = seed;
    this.#counter = counter;
    return this;
  }

  /** Sets `count` random words aside for a kernel that computes them itself. */
  reserve(count: number): Reservation {
    const before = this.#counter;
    const reservation = { key: wordsOf(this.#seed), counter: wordsOf(before) };
    this.#counter += Math.ceil(count / 4);
    watching()?.reserved(this, reservation.key, reservation.counter, before);
    return reservation;
  }

  /** Random 32-bit words. */
  words(count: number): Uint32Array {
    watching()?.drawing();
    const out = new Uint32Array(count);
    const { key, counter } = this.reserve(count);
    philox(key, counter, out);
    return out;
  }

  /** Numbers from 0 to below 1, multiples of 2^-24. */
  uniform(count: number): Float32Array {
    return Float32Array.from(this.words(count), (w) => (w >>> 8) * 2 ** -24);
  }

  /** Standard normal numbers (Box & Muller 1958). */
  normal(count: number): Float32Array {
    const words = this.words(2 * Math.ceil(count / 2));
    const out = new Float32Array(count);
    for (let i = 0; i < count; i += 2) {
      const radius = Math.sqrt(-2 * Math.log((words[i] + 1) / TWO_32));
      const angle = (2 * Math.PI * words[i + 1]) / TWO_32;
      out[i] = radius * Math.cos(angle);
      if (i + 1 < count) out[i + 1] = radius * Math.sin(angle);
    }
    return out;
  }

  /** Standard normal numbers of which only those from `low` to `high` count. */
  truncatedNormal(count: number, low = -2, high = 2): Float32Array {
    if (!(low < high) || low > 4 || high < -4 || (high - low < 0.01 && count > 0)) {
      throw new InputError(
        `A truncated normal distribution needs bounds around which numbers fall, got ${low} to ${high}.`,
      );
    }
    const out = new Float32Array(count);
    for (let filled = 0; filled < count; ) {
      for (const z of this.normal(Math.max(16, count - filled))) {
        if (z >= low && z <= high && filled < count) out[filled++] = z;
      }
    }
    return out;
  }

  /** Whole numbers from `low` to below `high`. */
  integers(count: number, low: number, high: number): Int32Array {
    if (!(high > low))
      throw new InputError(`Random integers need a low bound below the high one, got ${low} and ${high}.`);
    const words = this.words(2 * count);
    return Int32Array.from({ length: count }, (_, i) => {
      const unit = (words[2 * i] * 2 ** 21 + (words[2 * i + 1] >>> 11)) / 2 ** 53;
      return low + Math.floor(unit * (high - low));
    });
  }

  /** 0 to count - 1 in random order (Fisher & Yates). */
  permutation(count: number): Int32Array {
    const out = Int32Array.from({ length: count }, (_, i) => i);
    const words = this.words(count);
    for (let i = count - 1; i > 0; i--) {
      const j = Math.floor((words[i] / TWO_32) * (i + 1));
      [out[i], out[j]] = [out[j], out[i]];
    }
    return out;
  }
}

const shared = new Generator();

/** The generator that is used where none is given. */
export const defaultGenerator = (): Generator => shared;

/** Restarts the default generator from a seed; returns it. */
export const manualSeed = (seed: number): Generator => shared.manualSeed(seed);
