/** One BEiT-3 for all five tasks: a backbone that their heads share, under the names that each task's own model has. */

import { type Buffer, type Builder, type Parameter, writeValues } from '../../../nn/builder.js';
import { Module } from '../../../nn/module.js';
import { type Beit3Config, TASKS, type Task } from '../../config.js';
import { createModel, type TaskModels } from '../../heads/index.js';
import { Beit3 } from '../../model/beit3.js';

export interface JointSpec {
  readonly config: Beit3Config;
  /** Of image classification. */
  readonly classes: number;
  /** Of visual question answering. */
  readonly answers: number;
}

/** Outputs of a task's head. */
export function outputsOf(task: Task, { classes, answers }: JointSpec): number {
  return { imageclassification: classes, vqav2: answers, nlvr2: 2, captioning: 0, retrieval: 0 }[task];
}

/**
 * The models of all tasks over one backbone. No two heads have a name in common, so that the state of this model is the
 * union of theirs and a file of it loads as a model of any of the tasks.
 */
export class JointModel extends Module {
  readonly #models: TaskModels;

  constructor(b: Builder, spec: JointSpec) {
    super();
    const { config } = spec;
    const backbone = new Beit3(b.at('beit3'), config, { initialisation: 'magneto' });
    const make = <T extends Task>(task: T): TaskModels[T] =>
      createModel(b, { task, config, numClasses: outputsOf(task, spec) }, { backbone, initialisation: 'magneto' });
    this.#models = {
      retrieval: make('retrieval'),
      captioning: make('captioning'),
      imageclassification: make('imageclassification'),
      vqav2: make('vqav2'),
      nlvr2: make('nlvr2'),
    };
    // Each answer is rarely right; from even odds, hundreds of steps would learn nothing else.
    const bias = this.#models.vqav2.stateDict().get('head.3.bias');
    if (bias && b.initialize) writeValues(bias, new Float32Array(spec.answers).fill(-Math.log(spec.answers)));
  }

  /** The model of a task; its weights are this model's. */
  of<T extends Task>(task: T): TaskModels[T] {
    return this.#models[task];
  }

  override *children(): Iterable<[string, Module]> {
    for (const task of TASKS) yield [task, this.#models[task]];
  }

  /** Every tensor once, by the name that it has in the models of the tasks. */
  override *namedTensors(): Iterable<[string, Parameter | Buffer]> {
    const seen = new Set<string>();
    for (const task of TASKS) {
      for (const [name, tensor] of this.#models[task].namedTensors()) {
        if (seen.has(name)) continue;
        seen.add(name);
        yield [name, tensor];
      }
    }
  }
}
