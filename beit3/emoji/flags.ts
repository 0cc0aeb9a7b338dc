/** The flags of the quickstart. */

import { parseArgs } from 'node:util';
import { backendNames } from '../../backends/index.js';
import { InputError } from '../../core/errors.js';
import { nearest } from '../../core/nearest.js';

export interface QuickstartFlags {
  readonly help: boolean;
  /** Minutes of training. */
  readonly minutes: number;
  /** Steps of training instead of minutes: the same seed then gives the same model. */
  readonly steps: number | undefined;
  readonly seed: number;
  readonly device: string;
  readonly threads: number | undefined;
  readonly width: number;
  readonly layers: number;
  readonly size: number;
  readonly patch: number;
  readonly batch: number;
  readonly lr: number;
  /** What training starts from: the model in the package, or nothing. */
  readonly from: 'shipped' | 'nothing';
  readonly output: string;
}

export const DEFAULTS = {
  minutes: 4,
  seed: 0,
  device: 'auto',
  width: 128,
  layers: 2,
  size: 32,
  patch: 16,
  batch: 128,
  lr: 6e-4,
  from: 'shipped' as const,
  output: 'out/quickstart',
};

/** Flag -> the name of its value and what it does. */
const FLAGS: Readonly<Record<string, readonly [value: string, help: string]>> = {
  minutes: ['M', 'minutes of training; the other work takes about half a minute'],
  steps: ['N', 'steps of training instead of minutes; repeatable for a seed'],
  seed: ['N', 'of the weights, the batches and the variations'],
  device: ['NAME', `auto, ${backendNames().join(' or ')}`],
  threads: ['N', 'of the wasm device; default: one a processor'],
  width: ['D', 'of the model, a multiple of 32'],
  layers: ['L', 'of the model'],
  size: ['PX', 'side of the pictures'],
  patch: ['PX', 'side of a patch; it divides the size'],
  batch: ['B', 'pictures in a step'],
  lr: ['RATE', 'highest learning rate'],
  from: ['MODEL', 'what training starts from: shipped or nothing; nothing where a size is given'],
  output: ['FOLDER', 'where the results go'],
};

/** Flags that say how large a fresh model is. */
const SIZES = ['width', 'layers', 'size', 'patch'];

/** What --help prints. */
export function usage(): string {
  const defaults: Readonly<Record<string, unknown>> = DEFAULTS;
  const rows = Object.entries(FLAGS).map(([name, [value, help]]) => {
    const fallback = name in defaults && !help.includes('default') ? ` (${defaults[name]})` : '';
    return `  ${`--${name} ${value}`.padEnd(18)}${help}${fallback}`;
  });
  return [
    'Usage: npm run quickstart -- [flags]',
    '',
    'Shows what the model in the package says of emoji in a style that it has never seen, trains it further on eight',
    'other styles, and finds those of the ninth by their names. Ctrl-C ends the training early and goes on with the rest.',
    '',
    'Flags (defaults in brackets):',
    ...rows,
    `  ${'--help'.padEnd(18)}this text`,
  ].join('\n');
}

/** Reads the flags. Throws InputError for an unknown one and for a value that cannot be. */
export function parseFlags(argv: readonly string[]): QuickstartFlags {
  const given = new Map<string, string>();
  const { tokens } = parseArgs({
    args: [...argv],
    options: {
      ...Object.fromEntries(Object.keys(FLAGS).map((name) => [name, { type: 'string' as const }])),
      help: { type: 'boolean', short: 'h' },
    },
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  for (const token of tokens) {
    if (token.kind === 'option-terminator') continue;
    if (token.kind === 'positional') {
      throw new InputError(`The quickstart takes only flags, got ${JSON.stringify(token.value)}; see --help.`);
    }
    const { name, rawName, value } = token;
    if (name !== 'help' && !Object.hasOwn(FLAGS, name)) {
      throw new InputError(
        `The quickstart has no flag ${rawName}; the nearest is --${nearest(name, Object.keys(FLAGS))}.`,
      );
    }
    if (name === 'help' && value !== undefined) throw new InputError('--help takes no value.');
    if (name !== 'help' && (value === undefined || value === '')) {
      throw new InputError(`${rawName} needs a value: ${rawName} ${FLAGS[name][0]}.`);
    }
    given.set(name, value ?? '');
  }
  const number = (name: string, least: number, most: number, whole = true): number | undefined => {
    const text = given.get(name);
    if (text === undefined) return undefined;
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (value >= least && value <= most && (!whole || Number.isInteger(value))) return value;
    const kind = whole ? 'a whole number' : 'a number';
    throw new InputError(`--${name} must be ${kind} from ${least} to ${most}, got ${JSON.stringify(text)}.`);
  };
  const sized = SIZES.find((name) => given.has(name));
  const from = given.get('from') ?? (sized ? 'nothing' : DEFAULTS.from);
  if (from !== 'shipped' && from !== 'nothing') {
    throw new InputError(`--from must be shipped or nothing, got ${JSON.stringify(from)}.`);
  }
  if (from === 'shipped' && sized) {
    throw new InputError(`--${sized} is for a model from nothing, the one in the package has its size; leave one out.`);
  }
  return {
    help: given.has('help'),
    minutes: number('minutes', 0.01, 10_000, false) ?? DEFAULTS.minutes,
    steps: number('steps', 1, 1e9),
    seed: number('seed', 0, Number.MAX_SAFE_INTEGER) ?? DEFAULTS.seed,
    device: given.get('device') ?? DEFAULTS.device,
    threads: number('threads', 1, 1024),
    width: number('width', 32, 4096) ?? DEFAULTS.width,
    layers: number('layers', 1, 48) ?? DEFAULTS.layers,
    size: number('size', 8, 512) ?? DEFAULTS.size,
    patch: number('patch', 1, 512) ?? DEFAULTS.patch,
    batch: number('batch', 2, 4096) ?? DEFAULTS.batch,
    lr: number('lr', 1e-8, 1, false) ?? DEFAULTS.lr,
    from,
    output: given.get('output') ?? DEFAULTS.output,
  };
}
