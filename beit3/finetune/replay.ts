/** Training steps that are captured for each shape of their batches, and replayed. */
import { type CapturedStep, capture } from '../../core/capture.js';
import { scope } from '../../core/memory.js';
import type { Tensor } from '../../core/tensor.js';

/** Shapes whose steps are kept captured: each owns the memory of a whole step. */
const MOST_CAPTURED = 2;

/** What a step gives: of each batch its loss and metrics, and the norm of all gradients. */
export interface StepTensors {
  readonly parts: readonly Readonly<Record<string, Tensor>>[];
  readonly norm: Tensor | null;
}

/**
 * Runs `fn` on batches, captured: what it makes of their arrays with `fresh`, it makes of those of the batches that a
 * replay is given. Batches of shapes that come too rarely, or too late, run without.
 */
export class ReplayedSteps<B extends object> {
  readonly #captured = new Map<string, CapturedStep<[], StepTensors>>();
  #batches: readonly B[] = [];

  constructor(private readonly fn: (batches: readonly B[]) => StepTensors) {}

  /** `key` tells apart what else decides on the operations of a step. */
  run(batches: readonly B[], key: string): StepTensors {
    this.#batches = batches;
    const signature = `${key}:${batches.map(signatureOf).join(';')}`;
    let step = this.#captured.get(signature);
    if (!step) {
      const kept = [...this.#captured].filter(([, s]) => s.recording !== null);
      if (kept.length >= MOST_CAPTURED) return scope(() => this.fn(batches));
      // Those that were met once only make room.
      for (const [name, s] of this.#captured) {
        if (s.recording !== null || this.#captured.size < 2 * MOST_CAPTURED) continue;
        s.dispose();
        this.#captured.delete(name);
      }
      const live = batches.map((_, i) => this.#batchNow(i));
      step = capture(() => this.fn(live));
      this.#captured.set(signature, step);
    }
    return step();
  }

  /** A batch whose fields are those of the batch that is there now. */
  #batchNow(i: number): B {
    return new Proxy({} as B, { get: (_, name) => Reflect.get(this.#batches[i], name) });
  }

  dispose(): void {
    for (const step of this.#captured.values()) step.dispose();
    this.#captured.clear();
  }
}

/** What of a batch decides on the operations of a step: sizes of arrays, and whether anything is padded. */
function signatureOf(batch: object): string {
  return Object.entries(batch)
    .map(([name, value]) => {
      if (ArrayBuffer.isView(value)) {
        const { length } = value as Uint8Array;
        return name === 'padding' ? `${name}${length}${(value as Uint8Array).includes(1)}` : `${name}${length}`;
      }
      return typeof value === 'number' || value === null ? `${name}${value}` : '';
    })
    .join();
}
