/** How a training run goes: what its steps are about, and how fast they learn. */

import type { Task } from '../../config.js';
import { learningRate } from '../train.js';
import { RECIPE } from './recipe.js';

/** A part of a run, with a learning rate that rises and falls over it. */
export interface Phase {
  /** The tasks in the order in which steps take them, over and over. */
  readonly cycle: readonly Task[];
  /** The highest learning rate. */
  readonly lr: number;
  /**
   * Share of the questions `is this ...?` that are asked as a sentence about two pictures, and of the sentences that are
   * said of one picture twice.
   */
  readonly statements: number;
}

const R = 'retrieval';
const C = 'captioning';
const I = 'imageclassification';
const V = 'vqav2';
const N = 'nlvr2';

/**
 * First what things look like and are called; then, mostly, to judge sentences. Of two pictures that is learned slowly
 * from true and false alone: the same words about one picture show the way.
 */
export const PHASES: readonly [Phase, Phase] = [
  { cycle: [R, V, C, N, I, V, R, C, N, V], lr: RECIPE.lr, statements: 0 },
  { cycle: [N, V, N, R, V, N, C, V, N, R, V, N, C, I], lr: RECIPE.secondLr, statements: 0.5 },
];

/** Where a step, counted from 0, of a run of so many stands: its phase, and its number in that. */
export function phaseOf(step: number, steps: number): { readonly index: 0 | 1; readonly step: number } {
  const first = firstPhase(steps);
  return step < first ? { index: 0, step } : { index: 1, step: step - first };
}

function firstPhase(steps: number): number {
  return Math.round(steps * RECIPE.firstShare);
}

/** The learning rate of a step, counted from 0. */
export function jointLearningRate(step: number, steps: number): number {
  const { index, step: own } = phaseOf(step, steps);
  const first = firstPhase(steps);
  return learningRate(PHASES[index].lr, own / (index === 0 ? first : steps - first));
}
