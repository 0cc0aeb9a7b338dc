/** Flags of settings that are numbers, from one table a command. */
import { InputError } from '../core/errors.js';
import type { Args } from './args.js';
import { type Flag, type Flags, inGroup } from './command.js';

/** Flag -> whether it is whole (N) or not (X), the setting, the least and the most, and what it means. */
export type NumberTable<S> = Readonly<
  Record<string, readonly [kind: 'N' | 'X', key: keyof S & string, least: number, most: number, help: string]>
>;

/** The numbers of AdamW and its rates. */
export const OPTIMISER_NUMBERS = {
  lr: ['X', 'lr', 0, 10, 'The highest learning rate.'],
  'min-lr': ['X', 'minLr', 0, 10, 'Where it falls to, along a cosine.'],
  'weight-decay': ['X', 'weightDecay', 0, 10, 'Of matrices.'],
  'opt-eps': ['X', 'optEps', 0, 1, 'Epsilon of AdamW.'],
  'clip-grad': ['X', 'clipGrad', 0, 1e6, 'Most norm of all gradients; 0 for no clipping.'],
} as const;

/** The flags of a table, and others of the same heading; `defaults` are shown in the help. */
export function settingFlags<S>(table: NumberTable<S>, defaults: S, others: Flags = {}): Flags {
  const numbers = Object.entries(table).map(([name, [value, key, , , help]]): [string, Flag] => {
    const usual = defaults[key];
    return [name, { value, help, ...(usual === null ? {} : { default: String(usual) }) }];
  });
  return inGroup('Settings', { ...Object.fromEntries(numbers), ...others });
}

/** The numbers that were given. Throws InputError for one out of bounds. */
export function givenNumbers<S>(args: Args, table: NumberTable<S>): Partial<Record<keyof S & string, number>> {
  const found: Partial<Record<keyof S & string, number>> = {};
  for (const [name, [kind, key, least, most]] of Object.entries(table)) {
    const value = kind === 'N' ? args.whole(name, least, most) : args.number(name, least, most);
    if (value !== undefined) found[key] = value;
  }
  return found;
}

/** `1,2,3` as so many numbers of at least 0. Throws InputError for anything else. */
export function givenList(args: Args, flag: string, count: number): number[] | undefined {
  const text = args.text(flag);
  if (text === undefined) return undefined;
  const values = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if (values.length === count && values.every((n) => n >= 0 && Number.isFinite(n))) return values;
  throw new InputError(
    `--${flag} expects ${count} numbers of at least 0 with commas between them, got ${JSON.stringify(text)}.`,
  );
}
