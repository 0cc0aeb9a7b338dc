/** Flags of the benchmarks: what each means stands in one table, from which the help is made. */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { parseArgs } from 'node:util';
import { InputError, messageOf } from '../core/errors.js';
import { nearest } from '../core/nearest.js';

/** A flag's value as the help shows it (none: a switch), and what it means. */
export type FlagTable = Readonly<Record<string, readonly [value: string | null, help: string]>>;

/** The flags that were given. */
export class Given<T extends FlagTable> {
  constructor(private readonly values: Readonly<Record<string, string | boolean | undefined>>) {}

  has(flag: keyof T & string): boolean {
    return this.values[flag] === true;
  }

  text(flag: keyof T & string): string | undefined {
    return this.values[flag] as string | undefined;
  }

  /** A flag's number; throws InputError unless it lies from `least` to `most`. */
  number(flag: keyof T & string, least: number, most: number): number | undefined {
    const text = this.text(flag);
    if (text === undefined) return undefined;
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (value >= least && value <= most) return value;
    throw new InputError(`--${flag} must be a number from ${least} to ${most}, got ${JSON.stringify(text)}.`);
  }

  whole(flag: keyof T & string, least: number, most: number): number | undefined {
    const value = this.number(flag, least, most);
    if (value === undefined || Number.isInteger(value)) return value;
    throw new InputError(`--${flag} must be a whole number, got ${value}.`);
  }

  /** A flag that is one of some words. */
  choice<W extends string>(flag: keyof T & string, words: readonly W[]): W | undefined {
    const text = this.text(flag);
    if (text === undefined || (words as readonly string[]).includes(text)) return text as W | undefined;
    throw new InputError(
      `--${flag} must be one of ${words.join(', ')}; the nearest to ${JSON.stringify(text)} is ${nearest(text, words)}.`,
    );
  }
}

/** The flags of the command line; null when the help was asked for and printed. Throws InputError for others. */
export function flagsOf<T extends FlagTable>(title: string, table: T): Given<T> | null {
  const argv = process.argv.slice(2);
  if (argv.includes('--help') || argv.includes('-h')) {
    const rows = Object.entries(table).map(([name, [value, help]]) => [`--${name}${value ? ` ${value}` : ''}`, help]);
    const width = Math.max(...rows.map(([flag]) => flag.length));
    console.log([title, '', ...rows.map(([flag, help]) => `  ${flag.padEnd(width)}  ${help}`)].join('\n'));
    return null;
  }
  let values: Readonly<Record<string, string | boolean | undefined>>;
  try {
    ({ values } = parseArgs({
      args: argv,
      options: Object.fromEntries(
        Object.entries(table).map(([name, [value]]) => [
          name,
          { type: value === null ? 'boolean' : 'string' } as const,
        ]),
      ),
    }));
  } catch (error) {
    throw new InputError(`${messageOf(error).split('\n')[0]} (--help lists the flags)`);
  }
  // Before minutes of measuring, not after them.
  const { json } = values;
  if (typeof json === 'string' && !existsSync(dirname(json)))
    throw new InputError(`Cannot write ${json}: its folder does not exist.`);
  return new Given<T>(values);
}

/** Runs a benchmark's body; what was wrong with its input is said in one sentence, without a stack. */
export async function main(body: () => Promise<void>): Promise<void> {
  try {
    await body();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    console.error(error.message);
    process.exitCode = 2;
  }
}
