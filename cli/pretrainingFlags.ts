/** What the commands have in common that pretrain on pictures. */
import { InputError } from '../core/errors.js';
import type { Args } from './args.js';
import { configFile } from './files.js';
import { OPTIMISER_NUMBERS } from './settingFlags.js';

/** Settings that are numbers: see `NumberTable`. */
export const PRETRAINING_NUMBERS = {
  steps: ['N', 'steps', 1, 1e9, 'Steps of training; the rate falls until the last.'],
  ...OPTIMISER_NUMBERS,
  'warmup-steps': ['N', 'warmupSteps', 0, 1e9, 'Steps in which it rises.'],
  'drop-path': ['X', 'dropPath', 0, 0.99, 'Stochastic depth of the last layer.'],
  'image-batch': ['N', 'imageBatch', 1, 1e6, 'Pictures of a batch.'],
  'update-freq': ['N', 'updateFreq', 1, 1e6, 'Batches whose gradients a step adds up.'],
  'image-mask': ['X', 'imageMask', 0, 0.99, 'Share of patches that are hidden.'],
  'min-block': ['N', 'minBlock', 1, 1e4, 'Patches of a hidden block at least.'],
  'min-crop': ['X', 'minCrop', 0.01, 1, 'Least share of a picture that a crop keeps.'],
  'color-jitter': ['X', 'colorJitter', 0, 1, 'How far colours may go.'],
  'shuffle-buffer': ['N', 'shuffleBuffer', 1, 1e7, 'Samples that are shuffled at a time.'],
  seed: ['N', 'seed', 0, Number.MAX_SAFE_INTEGER, 'Of weights, order and masks.'],
  rank: ['N', 'rank', 0, 1e6, 'Of several processes that share the data, which one this is.'],
  'world-size': ['N', 'worldSize', 1, 1e6, 'How many there are.'],
} as const;

/** The sizes that --model or --config name. Throws InputError. */
export async function sizesGiven(args: Args): Promise<string | Readonly<Record<string, unknown>> | undefined> {
  const [name, file] = [args.text('model'), args.text('config')];
  if (name !== undefined && file !== undefined) throw new InputError('Give either --model or --config, not both.');
  return file === undefined ? name : configFile(file);
}
