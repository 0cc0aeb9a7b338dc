/** Flags of the programs that train on emoji. */
import { parseArgs } from 'node:util';
import { InputError, messageOf } from '../../core/errors.js';

/** Flag -> the name of its value and what it does. */
export type FlagTable = Readonly<Record<string, readonly [value: string, help: string]>>;

export interface ScriptFlags {
  readonly help: boolean;
  text(name: string): string | undefined;
  /** Throws InputError for anything but a number within the bounds. */
  number(name: string, least: number, most: number): number | undefined;
  whole(name: string, least: number, most: number): number | undefined;
}

/** What --help prints. */
export function scriptUsage(command: string, about: readonly string[], table: FlagTable): string {
  return [
    `Usage: npm run ${command} -- [flags]`,
    '',
    ...about,
    '',
    'Flags (defaults in brackets):',
    ...Object.entries(table).map(([name, [value, help]]) => `  ${`--${name} ${value}`.padEnd(22)}${help}`),
    `  ${'--help'.padEnd(22)}this text`,
  ].join('\n');
}

/** Reads the flags of a table. Throws InputError for an unknown one. */
export function readScriptFlags(argv: readonly string[], table: FlagTable): ScriptFlags {
  let values: Record<string, string | boolean | undefined>;
  try {
    const options = Object.fromEntries(Object.keys(table).map((name) => [name, { type: 'string' as const }]));
    values = parseArgs({ args: [...argv], options: { ...options, help: { type: 'boolean', short: 'h' } } }).values;
  } catch (error) {
    throw new InputError(`${messageOf(error).split('. ')[0]}; see --help.`);
  }
  const text = (name: string): string | undefined => values[name] as string | undefined;
  const within = (name: string, least: number, most: number, isWhole: boolean): number | undefined => {
    const given = text(name);
    if (given === undefined) return undefined;
    const value = given.trim() === '' ? Number.NaN : Number(given);
    if (value >= least && value <= most && (!isWhole || Number.isInteger(value))) return value;
    const kind = isWhole ? 'a whole number' : 'a number';
    throw new InputError(`--${name} must be ${kind} from ${least} to ${most}, got ${JSON.stringify(given)}.`);
  };
  return {
    help: values.help === true,
    text,
    number: (name, least, most) => within(name, least, most, false),
    whole: (name, least, most) => within(name, least, most, true),
  };
}
