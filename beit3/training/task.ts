/** Training by steps on data that never ends: what a run needs to know of what it trains. */
import type { Module } from '../../nn/module.js';
import type { AdamW } from '../../nn/optim.js';
import type { Resumable } from '../data/stream/stream.js';

/**
 * What is trained. A training checkpoint holds the tensors of `model` (parameters and buffers), the state of `optimiser`
 * and the position of `data`; with these and the default generator a run goes on to the same numbers.
 */
export interface SteppedTask<B> {
  readonly model: Module;
  readonly optimiser: AdamW;
  /** Gives batches; its position is where training stands in the data. */
  readonly data: Resumable & { next(): Promise<B>; close(): Promise<void> };
  /**
   * Makes step number `step` (from 0) at a learning rate: the numbers of the step by name, of which `loss` is what was
   * differentiated and `gradNorm` the norm before clipping. Throws NotFinite, and changes no weight, where the loss is none.
   */
  step(batch: B, step: number, lr: number): Promise<Readonly<Record<string, number>>>;
  dispose(): void;
}
