/** What a fine-tuning run tells while it goes. */

/** A step as it is logged. */
export interface StepRecord {
  readonly type: 'step';
  /** Steps done, this one included. */
  readonly step: number;
  /** From 0. */
  readonly epoch: number;
  /** Mean over the batches of the step. */
  readonly loss: number;
  /** Share of right answers, for tasks that have one. */
  readonly acc?: number;
  /** Highest learning rate of all parameters, and the lowest. */
  readonly lr: number;
  readonly minLr: number;
  readonly weightDecay: number;
  /** L2 norm of all gradients before clipping; null where mixed precision skipped the step. */
  readonly gradNorm: number | null;
  /** Factor on the loss in mixed precision. */
  readonly lossScale?: number;
  /** Wall time of the step, and the part of it spent waiting for data. */
  readonly seconds: number;
  readonly dataSeconds: number;
  readonly samples: number;
}

/** An epoch as it is logged: means over its steps, and the metrics of validation. */
export interface EpochRecord {
  readonly type: 'epoch';
  readonly epoch: number;
  readonly step: number;
  readonly train: Readonly<Record<string, number>>;
  readonly validation: Readonly<Record<string, number>> | null;
  /** The metric that decides which epoch is best, and whether this one is. */
  readonly key: string | null;
  readonly isBest: boolean;
  readonly parameters: number;
}

export type FinetuneEvent =
  | { readonly type: 'note'; readonly text: string }
  | {
      readonly type: 'start';
      readonly samples: number;
      readonly parameters: number;
      readonly epochs: number;
      readonly stepsPerEpoch: number;
      readonly totalSteps: number;
      /** Samples in a step, and in each of the batches that make it. */
      readonly samplesPerStep: number;
      readonly batchSize: number;
      /** Steps that are done already. */
      readonly from: number;
    }
  | { readonly type: 'validation'; readonly done: number; readonly total: number }
  | { readonly type: 'saved'; readonly path: string; readonly step: number }
  | StepRecord
  | EpochRecord;
