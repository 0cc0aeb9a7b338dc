/** How much of a codebook is used, seen over the vectors of the last steps. */
import type { Buffer, Builder } from '../../nn/builder.js';
import { writeValues } from '../../nn/builder.js';
import * as init from '../../nn/init.js';
import { Module } from '../../nn/module.js';

/** Vectors that are looked at, for each code: so many that one of a tenth of its equal share is seen by all likelihood. */
const WINDOW = 32;

/** Counts of codes, in numbers that tell what a codebook is worth. */
export interface CodeUse {
  /** Share of the codes that occur. */
  readonly use: number;
  /** exp of the entropy: how many codes there would be if all occurred equally often. */
  readonly perplexity: number;
}

export function useOf(counts: ArrayLike<number>): CodeUse {
  let [total, used, entropy] = [0, 0, 0];
  for (let i = 0; i < counts.length; i++) total += counts[i];
  for (let i = 0; i < counts.length; i++) {
    if (!(counts[i] > 0)) continue;
    used++;
    entropy -= (counts[i] / total) * Math.log(counts[i] / total);
  }
  return { use: used / counts.length, perplexity: used === 0 ? 0 : Math.exp(entropy) };
}

/** The codes of the last vectors; they are a buffer, so that a training checkpoint has them. */
export class UseMeter extends Module {
  /** Codes of the last vectors [32 K] in a ring; -1 where there was none yet. */
  readonly recent: Buffer;
  #ring: Float32Array | null = null;
  readonly #counts: Float64Array;

  constructor(b: Builder, codes: number) {
    super();
    this.recent = b.at('recent').buffer([WINDOW * codes], init.constant(-1));
    this.#counts = new Float64Array(codes);
  }

  /** Takes the codes of a batch in; `seen` vectors came before it, in this run or in the one that it goes on from. */
  async add(ids: Int32Array, seen: number): Promise<CodeUse & { readonly isFull: boolean }> {
    const ring = await this.#load();
    for (const [i, id] of ids.entries()) {
      const at = (seen + i) % ring.length;
      if (ring[at] >= 0) this.#counts[ring[at]]--;
      ring[at] = id;
      this.#counts[id]++;
    }
    writeValues(this.recent, ring);
    return { ...useOf(this.#counts), isFull: seen + ids.length >= ring.length };
  }

  /** The ring as a checkpoint may have left it. */
  async #load(): Promise<Float32Array> {
    if (this.#ring) return this.#ring;
    this.#ring = Float32Array.from((await this.recent.data()) as Float32Array);
    for (const id of this.#ring) if (id >= 0) this.#counts[id]++;
    return this.#ring;
  }
}
