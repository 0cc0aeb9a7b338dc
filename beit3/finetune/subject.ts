/** What a run trains: a model of some family for a task. All that depends on the family is asked here. */
import type { TensorEntry, WritableTensor } from '../../checkpoints/index.js';
import type { Backend } from '../../core/backend.js';
import type { Builder } from '../../nn/builder.js';
import type { Module } from '../../nn/module.js';
import type { ParameterGroup } from '../../nn/optim.js';
import type { Task } from '../config.js';
import type { TaskModels } from '../heads/index.js';
import type { Preprocessing } from '../images/index.js';
import type { Source } from '../training/start.js';
import type { Settings } from './settings.js';

export type TrainedModel<T extends Task> = TaskModels[T] & Module;

export interface StartOptions {
  readonly backend: Backend;
  readonly seed: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/** The model that a run begins with, and what a user should know of how the checkpoint fits. */
export interface Begun<T extends Task> {
  readonly model: TrainedModel<T>;
  readonly notes: readonly string[];
}

export interface Subject<T extends Task = Task> {
  readonly task: T;
  /** Classes or answers that the head tells apart; 0 for tasks without. */
  readonly numClasses: number;
  /** Side of the pictures in pixels. */
  readonly imageSize: number;
  readonly preprocessing: Preprocessing;
  /** The JSON that describes the model beside its weights, with how it is trained (drop_path_rate, checkpoint_activations). */
  readonly description: Readonly<Record<string, unknown>>;
  /** The model with weights as the builder makes them. */
  make(b: Builder): TrainedModel<T>;
  /** The model with the weights of a checkpoint as far as they go, fresh ones for the rest. Throws InputError. */
  start(source: Source | null, options: StartOptions): Promise<Begun<T>>;
  /** Whose parameters are trained, with learning rates and weight decay by depth as the reference has them. */
  groups(model: TrainedModel<T>, settings: Settings): ParameterGroup[];
  /** What the reference's model holds besides, for exports that it loads strictly; `entries` are those of the source. */
  unused(entries: ReadonlyMap<string, TensorEntry>, seed: number): WritableTensor[];
}

/** The groups of a run: of all parameters, or of those of the head alone, which `--linear-probe` trains. */
export function trainedGroups(groups: ParameterGroup[], { linearProbe }: Settings): ParameterGroup[] {
  if (!linearProbe) return groups;
  return groups.filter(({ parameters }) => parameters.every(([name]) => name.startsWith('head.')));
}
