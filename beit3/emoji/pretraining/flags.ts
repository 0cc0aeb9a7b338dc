/** The flags of `npm run pretrain:emoji`. */
import { InputError } from '../../../core/errors.js';
import { type FlagTable, readScriptFlags, scriptUsage } from '../scriptFlags.js';

export interface StudyFlags {
  readonly help: boolean;
  readonly seeds: readonly number[];
  /** Part of the recipe's times. */
  readonly scale: number;
  readonly threads: number;
  readonly resume: boolean;
  readonly output: string;
}

const SEEDS = [0, 1, 2];

const FLAGS: FlagTable = {
  seeds: ['N,N,...', `one run each (${SEEDS.join(',')})`],
  scale: ['X', "part of the recipe's times, for a try (1)"],
  threads: ['N', 'of the wasm backend; times count those of all threads (1)'],
  resume: ['auto|none', 'go on with the study in the output folder, or start over (auto)'],
  output: ['FOLDER', 'where models and results go (out/pretraining)'],
};

export function studyUsage(): string {
  const about = [
    'Pretrains a small BEiT-3 on emoji and fine-tunes it for retrieval and classification, and trains the same models from',
    'scratch in the same processor time. Takes hours; whatever ends it, the same command goes on with the next part.',
  ];
  return scriptUsage('pretrain:emoji', about, FLAGS);
}

/** Reads the flags. Throws InputError for an unknown one and for a value that cannot be. */
export function parseStudyFlags(argv: readonly string[]): StudyFlags {
  const flags = readScriptFlags(argv, FLAGS);
  const text = flags.text('seeds');
  const seeds = text?.split(',').map((part) => (/^\d{1,15}$/.test(part.trim()) ? Number(part) : Number.NaN)) ?? SEEDS;
  if (seeds.some(Number.isNaN) || new Set(seeds).size < seeds.length)
    throw new InputError(
      `--seeds must be whole numbers, each once, with commas between them, got ${JSON.stringify(text)}.`,
    );
  const resume = flags.text('resume') ?? 'auto';
  if (resume !== 'auto' && resume !== 'none')
    throw new InputError(`--resume must be auto or none, got ${JSON.stringify(resume)}.`);
  const output = flags.text('output') ?? 'out/pretraining';
  if (output === '') throw new InputError('--output needs the name of a folder.');
  return {
    help: flags.help,
    seeds,
    scale: flags.number('scale', 1e-4, 100) ?? 1,
    threads: flags.whole('threads', 1, 1024) ?? 1,
    resume: resume === 'auto',
    output,
  };
}
