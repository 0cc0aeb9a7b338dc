/** What a command of `beit3` is. Each lies in a file of its own in commands/. */
import type { Args } from './args.js';
import type { Live, Progress } from './progress.js';

export interface Flag {
  /** How its value is shown in the help; a flag without one is a switch. */
  readonly value?: string;
  readonly help: string;
  /** What holds without it, for the help. */
  readonly default?: string;
  /** May be given several times. */
  readonly many?: boolean;
  /** The value may be left out; it follows an equals sign. */
  readonly optional?: boolean;
  /** Under which heading the help has it. */
  readonly group?: string;
}

export type Flags = Readonly<Record<string, Flag>>;

/** The flags under a heading of the help. */
export function inGroup(group: string, flags: Flags): Flags {
  return Object.fromEntries(Object.entries(flags).map(([name, flag]) => [name, { ...flag, group }]));
}

/** Where a command writes and what all commands are told. */
export interface Context {
  /** Writes a line of results to stdout. */
  out(line: string): void;
  /** Writes one JSON value to stdout. */
  json(value: unknown): void;
  /** Writes a remark to stderr. */
  note(line: string): void;
  /** Text on stderr that changes in place; null when stderr is no terminal. */
  live(): Live | null;
  /**
   * Lets the command end by itself when a signal comes: `handler` is told the exit code. A second signal ends the
   * process at once.
   */
  onInterrupt(handler: (code: number) => void): void;
  /** A line on stderr that changes in place; silent when stderr is no terminal. It counts bytes unless told otherwise. */
  progress(what: string, format?: (n: number) => string): Progress;
  /** Whether `--json` was given. */
  readonly wantsJson: boolean;
  readonly device: string;
  /** The GPU of the webgpu device, by a part of its name. */
  readonly adapter: string | undefined;
  readonly threads: number | undefined;
}

export interface Command {
  /** What follows `beit3`, one line a form. */
  readonly usage: readonly string[];
  /** What it does, in a sentence or two. */
  readonly about: string;
  readonly flags: Flags;
  readonly examples: readonly string[];
  /** Returns the exit code, 0 when it returns nothing. Throws InputError for bad input. */
  run(args: Args, context: Context): Promise<number | undefined>;
}

/** A command by its name, in an overview. */
export interface CommandEntry {
  readonly summary: string;
  /** Loads the command; others stay on the disk. */
  readonly load: () => Promise<{ readonly command: Command | CommandGroup }>;
}

/** A command whose first word says which of several it is (`beit3 vqkd train`). */
export interface CommandGroup {
  readonly about: string;
  readonly examples: readonly string[];
  readonly commands: ReadonlyMap<string, CommandEntry>;
}

/** Flags that every command has. */
export const COMMON_FLAGS: Flags = {
  json: { help: 'Print one JSON value on stdout.' },
  device: { value: 'NAME', help: 'Where to compute: auto, webgpu, wasm, gpujs or reference.', default: 'auto' },
  adapter: {
    value: 'NAME',
    help: 'Take webgpu, and the GPU with this part of its name; swiftshader is one in software.',
    default: 'the fastest',
  },
  threads: { value: 'N', help: 'CPU threads to use, at most one a core.', default: 'all cores' },
  profile: {
    value: 'FILE.json',
    help: 'Tell the time, GFLOP/s and GB/s of each kernel, and write a trace for chrome://tracing.',
    default: 'no profile; profile.json when no name follows',
    optional: true,
  },
  help: { help: 'Show this help.' },
};
