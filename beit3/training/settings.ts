/** What the settings of all runs by steps have in common. */
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { nearest } from '../../core/nearest.js';
import type { CourseOptions, RunResult } from './run.js';

/** How AdamW and the rates of a run are set. */
export interface OptimiserSettings {
  readonly lr: number;
  readonly minLr: number;
  readonly weightDecay: number;
  readonly optBetas: readonly [number, number];
  readonly optEps: number;
  /** Most norm of all gradients; 0 for no clipping. */
  readonly clipGrad: number;
}

/** The same as a task takes it. */
export function optimiserOptions({ weightDecay, optBetas, optEps, clipGrad }: OptimiserSettings) {
  return { weightDecay, betas: optBetas, eps: optEps, clipGrad: clipGrad > 0 ? clipGrad : null };
}

/** How pictures are hidden and shown in pretraining, and how long it takes. */
export interface MaskedTrainingSettings extends OptimiserSettings {
  readonly steps: number;
  readonly warmupSteps: number;
  readonly dropPath: number;
  /** Pictures of a batch. */
  readonly imageBatch: number;
  /** Batches whose gradients a step adds up. */
  readonly updateFreq: number;
  /** Share of the patches that is hidden, and the least block of them. */
  readonly imageMask: number;
  readonly minBlock: number;
  /** Least share of a picture that a crop keeps. */
  readonly minCrop: number;
  readonly colorJitter: number;
  /** Samples that are shuffled at a time. */
  readonly shuffleBuffer: number;
  readonly checkpointActivations: boolean;
  readonly seed: number;
  /** Of several processes that share the data, which one this is, and how many there are. */
  readonly rank: number;
  readonly worldSize: number;
}

/** What whoever trains by steps may say besides the data. */
export interface TrainingOptions<S> extends CourseOptions {
  readonly recipe?: string;
  /** What differs from the recipe. */
  readonly settings?: Partial<S>;
  /** Threads that load pictures. */
  readonly workers?: number;
  readonly backend?: Backend;
  readonly exportFormat?: 'safetensors' | 'pth';
  readonly onLoading?: (done: number, total: number) => void;
}

export interface TrainingResult extends RunResult {
  /** The exported weights; null when interrupted. */
  readonly model: string | null;
}

/** Settings of which the later ones win; undefined ones do not count. */
export function mergeSettings<S extends object>(base: S, ...more: readonly Partial<S>[]): S {
  const given = more.flatMap((part) => Object.entries(part).filter(([, value]) => value !== undefined));
  return { ...base, ...Object.fromEntries(given) };
}

/** The recipe of a name. Throws InputError, which names the nearest, for one that there is not. */
export function recipeNamed<R extends { readonly name: string }>(recipes: readonly R[], name: string): R {
  const found = recipes.find((recipe) => recipe.name === name);
  if (found) return found;
  const names = recipes.map((recipe) => recipe.name);
  throw new InputError(`There is no recipe ${JSON.stringify(name)}; the nearest is ${nearest(name, names)}.`);
}

/** Tells of texts that are cut: of the first by name, then of the count whenever it has grown tenfold. */
export function namesCut(note: (text: string) => void, most: number): (where: string, tokens: number) => void {
  let count = 0;
  return (where, tokens) => {
    count++;
    if (count === 1) note(`Cut to ${most} tokens, as all texts are that are longer: ${where}, which has ${tokens}.`);
    else if (Number.isInteger(Math.log10(count))) note(`${count} texts so far were cut to ${most} tokens.`);
  };
}

/** Broken samples that are named one by one. */
const MOST_NAMED = 100;

/** Tells of samples that are passed over: the first ones by name, all by the count of the data. */
export function namesSkipped(note: (text: string) => void): (reason: string) => void {
  let count = 0;
  return (reason) => {
    if (++count <= MOST_NAMED) note(`Skipped: ${reason}`);
    if (count === MOST_NAMED) note('Further broken samples are passed over without a remark.');
  };
}
