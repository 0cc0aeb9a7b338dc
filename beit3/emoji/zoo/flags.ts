/** The flags of `npm run train:emoji`. */

import { InputError } from '../../../core/errors.js';
import { type FlagTable, readScriptFlags, scriptUsage } from '../scriptFlags.js';
import { RECIPE } from './recipe.js';

export interface JointFlags {
  readonly help: boolean;
  readonly steps: number;
  readonly seed: number;
  readonly threads: number | undefined;
  /** Whether to go on with a run that stopped in the output folder. */
  readonly resume: boolean;
  readonly output: string;
}

const FLAGS: FlagTable = {
  steps: ['N', `steps of training, of all tasks together (${RECIPE.steps})`],
  seed: ['N', `of the weights and the batches (${RECIPE.seed})`],
  threads: ['N', 'of the wasm backend (one a processor)'],
  resume: ['auto|none', 'go on with the run in the output folder, or start over (auto)'],
  output: ['FOLDER', 'where the run and the model go (out/zoo)'],
};

export function jointUsage(): string {
  const about = [
    'Trains one BEiT-3 for all five tasks on emoji of eight styles and measures it on a ninth. Ctrl-C stops it; the same',
    'command goes on.',
  ];
  return scriptUsage('train:emoji', about, FLAGS);
}

/** Reads the flags. Throws InputError for an unknown one and for a value that cannot be. */
export function parseJointFlags(argv: readonly string[]): JointFlags {
  const flags = readScriptFlags(argv, FLAGS);
  const resume = flags.text('resume') ?? 'auto';
  if (resume !== 'auto' && resume !== 'none') {
    throw new InputError(`--resume must be auto or none, got ${JSON.stringify(resume)}.`);
  }
  if (flags.text('output') === '') throw new InputError('--output needs the name of a folder.');
  return {
    help: flags.help,
    steps: flags.whole('steps', 1, 1e7) ?? RECIPE.steps,
    seed: flags.whole('seed', 0, Number.MAX_SAFE_INTEGER) ?? RECIPE.seed,
    threads: flags.whole('threads', 1, 1024),
    resume: resume === 'auto',
    output: flags.text('output') ?? 'out/zoo',
  };
}
