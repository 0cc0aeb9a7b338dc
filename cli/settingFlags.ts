/** Flags for the settings of commands that train by steps: tables of numbers, of which many are the same. */
import { parseJson } from '../beit3/checkpoint.js';
import { readBytes } from '../beit3/readBytes.js';
import { InputError } from '../core/errors.js';
import type { Args } from './args.js';
import type { Flag, Flags } from './command.js';

/** A setting that is one number: its name, least, most, what it means, and whether it is whole. */
export type NumberFlag<K extends string = string> = readonly [
  key: K,
  least: number,
  most: number,
  help: string,
  whole?: 'whole',
];

const GROUP = 'Settings';
const MAX_CONFIG_BYTES = 1 << 20;

/** Of every command that pretrains on pictures. */
export const PRETRAINING_NUMBERS = {
  steps: ['steps', 1, 1e9, 'Steps of training; the rate falls until the last.', 'whole'],
  lr: ['lr', 0, 10, 'The highest learning rate.'],
  'min-lr': ['minLr', 0, 10, 'Where it falls to, along a cosine.'],
  'warmup-steps': ['warmupSteps', 0, 1e9, 'Steps in which it rises.', 'whole'],
  'weight-decay': ['weightDecay', 0, 10, 'Of matrices.'],
  'opt-eps': ['optEps', 0, 1, 'Epsilon of AdamW.'],
  'clip-grad': ['clipGrad', 0, 1e6, 'Most norm of all gradients; 0 for no clipping.'],
  'drop-path': ['dropPath', 0, 0.99, 'Stochastic depth of the last layer.'],
  'image-batch': ['imageBatch', 1, 1e6, 'Pictures of a batch.', 'whole'],
  'update-freq': ['updateFreq', 1, 1e6, 'Batches whose gradients a step adds up.', 'whole'],
  'image-mask': ['imageMask', 0, 0.99, 'Share of patches that are hidden.'],
  'min-block': ['minBlock', 1, 1e4, 'Patches of a hidden block at least.', 'whole'],
  'min-crop': ['minCrop', 0.01, 1, 'Least share of a picture that a crop keeps.'],
  'color-jitter': ['colorJitter', 0, 1, 'How far colours may go.'],
  'shuffle-buffer': ['shuffleBuffer', 1, 1e7, 'Samples that are shuffled at a time.', 'whole'],
  seed: ['seed', 0, Number.MAX_SAFE_INTEGER, 'Of weights, order and masks.', 'whole'],
  rank: ['rank', 0, 1e6, 'Of several processes that share the data, which one this is.', 'whole'],
  'world-size': ['worldSize', 1, 1e6, 'How many there are.', 'whole'],
} as const satisfies Readonly<Record<string, NumberFlag>>;

/** The flags of numbers, with what holds without them. */
export function numberFlags<K extends string>(
  numbers: Readonly<Record<string, NumberFlag<K>>>,
  defaults: { readonly [key in K]: unknown },
): Flags {
  return Object.fromEntries(
    Object.entries(numbers).map(([name, [key, , , help, whole]]): [string, Flag] => {
      const value = defaults[key];
      const shown = typeof value === 'number' ? String(Number(value.toPrecision(3))) : String(value);
      return [name, { value: whole ? 'N' : 'X', help, default: whole ? String(value) : shown, group: GROUP }];
    }),
  );
}

/** The numbers that were given, by the names of their settings. Throws InputError. */
export function numbersGiven(
  args: Args,
  numbers: Readonly<Record<string, NumberFlag>>,
): Readonly<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const [name, [key, least, most, , whole]] of Object.entries(numbers)) {
    const value = whole ? args.whole(name, least, most) : args.number(name, least, most);
    if (value !== undefined) found[key] = value;
  }
  return found;
}

/** `1,2,3` as numbers of at least 0. Throws InputError. */
export function numberList(args: Args, flag: string, count: number): number[] | undefined {
  const text = args.text(flag);
  if (text === undefined) return undefined;
  const values = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if (values.length === count && values.every((n) => n >= 0 && Number.isFinite(n))) return values;
  throw new InputError(
    `--${flag} expects ${count} numbers of at least 0 with commas between them, got ${JSON.stringify(text)}.`,
  );
}

/** A setting that is one of a few names. Throws InputError. */
export function oneOf<T extends string>(args: Args, flag: string, known: readonly T[]): T | undefined {
  const given = args.text(flag);
  const found = known.find((name) => name === given);
  if (given === undefined || found !== undefined) return found;
  throw new InputError(`--${flag} must be one of ${known.join(', ')}, got ${JSON.stringify(given)}.`);
}

export const EXPORT_FORMATS = ['safetensors', 'pth'] as const;

/** Flags for the sizes of a fresh model and for its export. */
export function modelFilesFlags(sizes: string, checkpoint: string): Flags {
  return {
    model: { value: 'NAME', help: `Sizes of a fresh model: ${sizes}.`, default: "the recipe's" },
    config: { value: 'FILE', help: 'JSON with sizes of your own.' },
    checkpoint: {
      value: 'FILE',
      help: `Pretrained weights to go on from, such as ${checkpoint}.`,
      default: 'fresh weights',
    },
    'export-format': { value: 'NAME', help: 'Of the weights: safetensors or pth.', default: 'safetensors' },
  };
}

/** The sizes that --model or --config name; `field` is one that they have, for messages. Throws InputError. */
export async function sizesGiven(args: Args, field: string): Promise<string | Record<string, unknown> | undefined> {
  const [name, file] = [args.text('model'), args.text('config')];
  if (name !== undefined && file !== undefined) throw new InputError('Give either --model or --config, not both.');
  if (file === undefined) return name;
  const bytes = await readBytes(file, { what: 'the config', maxBytes: MAX_CONFIG_BYTES });
  const json = parseJson(new TextDecoder().decode(bytes), file);
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  throw new InputError(`${file} is no config: expected a JSON object with fields like ${field}.`);
}
