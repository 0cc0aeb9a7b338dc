/** Trains one BEiT-3 for all five tasks, which take turns step by step. */

import '../../../autograd/index.js';
import type { Backend } from '../../../core/backend.js';
import { setDefaultBackend } from '../../../core/device.js';
import { scope } from '../../../core/memory.js';
import type { Tensor } from '../../../core/tensor.js';
import { AdamW } from '../../../nn/optim.js';
import { layerDecayGroups } from '../../layerDecay.js';
import { trainingLoss } from '../../tasks/index.js';
import type { JointBatch, JointBatches } from './batches.js';
import type { JointModel } from './model.js';
import { jointLearningRate } from './phases.js';

export interface JointTraining {
  readonly model: JointModel;
  readonly optimiser: AdamW;
  readonly batches: JointBatches;
  readonly backend: Backend;
  /** Steps of the whole run, over which phases and learning rates spread; those of `batches`. */
  readonly steps: number;
  /** Steps that an earlier part of the run has done. */
  readonly from?: number;
  /** Ends the run after the step at hand. */
  readonly signal?: AbortSignal;
  /** Called after each step; the run waits for what it returns. */
  readonly onStep?: (step: JointStep) => void | Promise<void>;
}

export interface JointStep {
  /** Steps done, this one included. */
  readonly step: number;
  readonly task: JointBatch['task'];
  readonly loss: number;
  readonly lr: number;
  /** Length of all gradients together before they were clipped. */
  readonly gradNorm: number;
}

/** What a step does besides what its batch says; another program that trains on the same batches needs it too. */
export const JOINT_SETTINGS = {
  weightDecay: 0.05,
  betas: [0.9, 0.98],
  maxNorm: 1,
  labelSmoothing: 0.1,
  dropWorstRatio: 0,
} as const;

/** AdamW over all weights of the model; those that a step's task does not use stay as they are. */
export function jointOptimiser(model: JointModel, layers: number): AdamW {
  const { weightDecay, betas } = JOINT_SETTINGS;
  return new AdamW(layerDecayGroups(model, { layers, weightDecay }), { betas });
}

/** Trains to the last step or until the signal. Throws an Error when the loss is no number any more. */
export async function trainJoint(training: JointTraining): Promise<void> {
  const { model, optimiser, batches, backend, steps, from = 0, signal, onStep } = training;
  setDefaultBackend(backend);
  model.train();
  for (let done = from; done < steps && !signal?.aborted; done++) {
    const lr = jointLearningRate(done, steps);
    const batch = batches.at(done);
    const tensors = scope(() => {
      const loss = lossOf(model, batch);
      loss.backward();
      return { loss: loss.detach() };
    });
    const norm = optimiser.step({ lr, maxNorm: JOINT_SETTINGS.maxNorm });
    optimiser.zeroGrad();
    const loss = await readScalar(tensors.loss);
    const gradNorm = norm ? await readScalar(norm) : 0;
    if (!Number.isFinite(loss)) {
      throw new Error(`Training went astray at step ${done + 1} (${batch.task}): the loss is ${loss}.`);
    }
    await onStep?.({ step: done + 1, task: batch.task, loss, lr, gradNorm });
    // Signals and timers get their turn.
    await new Promise((resolve) => setTimeout(resolve));
  }
  model.eval();
}

function lossOf(model: JointModel, { task, batch }: JointBatch): Tensor {
  const options = JOINT_SETTINGS;
  switch (task) {
    case 'retrieval':
      return trainingLoss(task, model.of(task), batch, options).loss;
    case 'captioning':
      return trainingLoss(task, model.of(task), batch, options).loss;
    case 'imageclassification':
      return trainingLoss(task, model.of(task), batch, options).loss;
    case 'vqav2':
      return trainingLoss(task, model.of(task), batch, options).loss;
    case 'nlvr2':
      return trainingLoss(task, model.of(task), batch, options).loss;
  }
}

async function readScalar(scalar: Tensor): Promise<number> {
  const value = await scalar.item();
  scalar.dispose();
  return value;
}
