/** The flags of `npm run train:emoji`. */

import { parseArgs } from 'node:util';
import { InputError, messageOf } from '../../../core/errors.js';
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

const FLAGS: Readonly<Record<string, readonly [value: string, help: string]>> = {
  steps: ['N', `steps of training, of all tasks together (${RECIPE.steps})`],
  seed: ['N', `of the weights and the batches (${RECIPE.seed})`],
  threads: ['N', 'of the wasm backend (one a processor)'],
  resume: ['auto|none', 'go on with the run in the output folder, or start over (auto)'],
  output: ['FOLDER', 'where the run and the model go (out/zoo)'],
};

export function jointUsage(): string {
  return [
    'Usage: npm run train:emoji -- [flags]',
    '',
    'Trains one BEiT-3 for all five tasks on emoji of eight styles and measures it on a ninth. Ctrl-C stops it; the same',
    'command goes on.',
    '',
    'Flags (defaults in brackets):',
    ...Object.entries(FLAGS).map(([name, [value, help]]) => `  ${`--${name} ${value}`.padEnd(22)}${help}`),
    `  ${'--help'.padEnd(22)}this text`,
  ].join('\n');
}

/** Reads the flags. Throws InputError for an unknown one and for a value that cannot be. */
export function parseJointFlags(argv: readonly string[]): JointFlags {
  let values: Record<string, string | boolean | undefined>;
  try {
    const options = Object.fromEntries(Object.keys(FLAGS).map((name) => [name, { type: 'string' as const }]));
    values = parseArgs({ args: [...argv], options: { ...options, help: { type: 'boolean', short: 'h' } } }).values;
  } catch (error) {
    throw new InputError(`${messageOf(error).split('. ')[0]}; see --help.`);
  }
  const whole = (name: string, least: number, most: number): number | undefined => {
    const text = values[name] as string | undefined;
    if (text === undefined) return undefined;
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    throw new InputError(`--${name} must be a whole number from ${least} to ${most}, got ${JSON.stringify(text)}.`);
  };
  const resume = values.resume ?? 'auto';
  if (resume !== 'auto' && resume !== 'none') {
    throw new InputError(`--resume must be auto or none, got ${JSON.stringify(resume)}.`);
  }
  if (values.output === '') throw new InputError('--output needs the name of a folder.');
  return {
    help: values.help === true,
    steps: whole('steps', 1, 1e7) ?? RECIPE.steps,
    seed: whole('seed', 0, Number.MAX_SAFE_INTEGER) ?? RECIPE.seed,
    threads: whole('threads', 1, 1024),
    resume: resume === 'auto',
    output: (values.output as string | undefined) ?? 'out/zoo',
  };
}
