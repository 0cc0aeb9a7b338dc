import { parseArgs } from 'node:util';
import { InputError } from '../core/errors.js';
import { nearest } from '../core/nearest.js';
import { COMMON_FLAGS, type Flags } from './command.js';

/** The words and flags behind a command, checked against the flags that it has. */
export class Args {
  private constructor(
    private readonly command: string,
    readonly words: readonly string[],
    private readonly given: ReadonlyMap<string, readonly string[]>,
  ) {}

  /** Throws InputError for a flag that the command does not have, or one with a wrong number of values. */
  static parse(command: string, argv: readonly string[], own: Flags): Args {
    const flags: Flags = { ...own, ...COMMON_FLAGS };
    const { tokens } = parseArgs({
      args: [...argv],
      options: Object.fromEntries(
        Object.entries(flags).map(([name, { value, optional }]) => [
          name,
          {
            type: value === undefined || optional ? ('boolean' as const) : ('string' as const),
            ...(name === 'help' ? { short: 'h' } : {}),
          },
        ]),
      ),
      strict: false,
      allowPositionals: true,
      tokens: true,
    });
    const words: string[] = [];
    const given = new Map<string, string[]>();
    for (const token of tokens) {
      if (token.kind === 'positional') words.push(token.value);
      if (token.kind !== 'option') continue;
      const { name, rawName, value, inlineValue } = token;
      if (!Object.hasOwn(flags, name)) {
        const hint = rawName.startsWith('--')
          ? `the nearest is --${nearest(name, Object.keys(flags))}`
          : 'put -- before a text that starts with a dash';
        throw new InputError(`beit3 ${command} has no flag ${rawName}; ${hint}.`);
      }
      const flag = flags[name];
      const before = given.get(name);
      if (before && !flag.many && flag.value !== undefined)
        throw new InputError(`${rawName} was given twice; give it once.`);
      if (flag.value === undefined && value !== undefined)
        throw new InputError(`${rawName} takes no value, got ${JSON.stringify(value)}.`);
      // The value of a text may be empty: it is refused where it is read.
      const isMissing = value === undefined || (value === '' && flag.value !== 'TEXT');
      const needsValue = flag.value !== undefined && !(flag.optional && value === undefined);
      if (needsValue && (isMissing || (!inlineValue && value.startsWith('--')))) {
        throw new InputError(`${rawName} needs a value: ${rawName}${flag.optional ? '=' : ' '}${flag.value}.`);
      }
      if (before) before.push(value ?? '');
      else given.set(name, [value ?? '']);
    }
    return new Args(command, words, given);
  }

  has(flag: string): boolean {
    return this.given.has(flag);
  }

  /** The value of a flag, if it was given. */
  text(flag: string): string | undefined {
    return this.given.get(flag)?.at(-1);
  }

  /** All values of a flag. */
  texts(flag: string): readonly string[] {
    return this.given.get(flag) ?? [];
  }

  /** The value of a flag that the command cannot do without. */
  required(flag: string, why: string): string {
    const value = this.text(flag);
    if (value === undefined) throw new InputError(`beit3 ${this.command} needs --${flag}: ${why}.`);
    return value;
  }

  /** A flag's number. Throws InputError unless it lies from `least` to `most`. */
  number(flag: string, least: number, most: number): number | undefined {
    const text = this.text(flag);
    if (text === undefined) return undefined;
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (value >= least && value <= most) return value;
    throw new InputError(`--${flag} must be a number from ${least} to ${most}, got ${JSON.stringify(text)}.`);
  }

  /** A flag's whole number. Throws InputError unless it lies from `least` to `most`. */
  whole(flag: string, least: number, most: number): number | undefined {
    const value = this.text(flag) === undefined ? undefined : Number(this.text(flag));
    if (value === undefined || (Number.isInteger(value) && value >= least && value <= most)) return value;
    throw new InputError(
      `--${flag} must be a whole number from ${least} to ${most}, got ${JSON.stringify(this.text(flag))}.`,
    );
  }

  /** A flag that is one of some words. Throws InputError for another. */
  choice<T extends string>(flag: string, known: readonly T[]): T | undefined {
    const given = this.text(flag);
    const found = known.find((name) => name === given);
    if (given === undefined || found !== undefined) return found;
    throw new InputError(`--${flag} must be one of ${known.join(', ')}, got ${JSON.stringify(given)}.`);
  }

  /** The words of a command that wants from `least` to `most` of them; `what` says which, for the message. */
  expect(least: number, most: number, what: string): readonly string[] {
    const { words } = this;
    if (words.length >= least && words.length <= most) return words;
    const got =
      words.length === 0
        ? 'nothing'
        : words
            .map((word) => JSON.stringify(word.slice(0, 30)))
            .slice(0, 4)
            .join(' ');
    throw new InputError(`beit3 ${this.command} expects ${what}, got ${got}; see beit3 ${this.command} --help.`);
  }
}
