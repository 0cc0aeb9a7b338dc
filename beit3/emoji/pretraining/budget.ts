/** Training for a time of the processor, which other work on the machine does not shorten. */
import { setDefaultBackend } from '../../../core/device.js';
import type { Tensor } from '../../../core/tensor.js';
import type { Module } from '../../../nn/module.js';
import { AdamW } from '../../../nn/optim.js';
import { layerDecayGroups } from '../../layerDecay.js';
import { learningRate } from '../train.js';

/** When to end: after seconds of processor time of all threads, or, repeatably, after steps. */
export type Budget = { readonly seconds: number } | { readonly steps: number };

export interface BudgetedTraining {
  readonly model: Module;
  readonly layers: number;
  readonly budget: Budget;
  /** The highest rate; it rises and falls over the whole budget. */
  readonly lr: number;
  /** Adds up the gradients of a step and tells its loss. */
  readonly step: (index: number) => Promise<number>;
  readonly onStep?: (done: { readonly step: number; readonly loss: number; readonly progress: number }) => void;
  readonly signal?: AbortSignal;
}

export interface Trained {
  readonly steps: number;
  readonly cpuSeconds: number;
  /** Mean of the last steps. */
  readonly loss: number;
}

const MAX_NORM = 1;
const LAST = 50;

export function cpuSeconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

/** Trains with AdamW as the quickstart does. Throws an Error when the loss is none, or when the signal fired. */
export async function trainFor(training: BudgetedTraining): Promise<Trained> {
  const { model, layers, budget, lr, step, onStep, signal } = training;
  setDefaultBackend(model.parameters()[0].backend);
  const optimiser = new AdamW(layerDecayGroups(model, { layers, weightDecay: 0.05 }), { betas: [0.9, 0.98] });
  const begin = cpuSeconds();
  const recent: number[] = [];
  let steps = 0;
  const progress = (): number => ('steps' in budget ? steps / budget.steps : (cpuSeconds() - begin) / budget.seconds);
  model.train();
  try {
    for (let now = 0; now < 1; now = progress()) {
      if (signal?.aborted) throw new Error('Stopped.');
      const loss = await step(steps);
      if (!Number.isFinite(loss)) throw new Error(`Training went astray at step ${steps + 1}: the loss is ${loss}.`);
      optimiser.step({ lr: learningRate(lr, now), maxNorm: MAX_NORM })?.dispose();
      optimiser.zeroGrad();
      recent.push(loss);
      if (recent.length > LAST) recent.shift();
      steps++;
      onStep?.({ step: steps, loss, progress: Math.min(1, progress()) });
      // Signals and timers get their turn.
      await new Promise((resolve) => setTimeout(resolve));
    }
  } finally {
    optimiser.dispose();
    model.zeroGrad();
  }
  model.eval();
  return { steps, cpuSeconds: cpuSeconds() - begin, loss: recent.reduce((a, b) => a + b, 0) / recent.length };
}

export async function read(t: Tensor): Promise<number> {
  try {
    return await t.item();
  } finally {
    t.dispose();
  }
}
