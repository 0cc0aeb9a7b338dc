import { backendNames, disposeBackend } from '../backends/index.js';
import { InputError, messageOf } from '../core/errors.js';
import { nearest } from '../core/nearest.js';
import { processorCount } from '../core/runtime.js';
import { Args } from './args.js';
import type { Command, CommandGroup, Context } from './command.js';
import { COMMANDS } from './commands/index.js';
import { megabytes, printable } from './format.js';
import { commandHelp, groupHelp, overview } from './help.js';
import { startProfile } from './profile.js';
import { createLive, createProgress } from './progress.js';

/** How a run ended. */
const BAD_INPUT = 2;
const FAILED = 1;
/** 128 and the number of the signal, as shells count. */
const INTERRUPTED = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** Runs the command line; returns the exit code. */
export async function run(argv: readonly string[]): Promise<number> {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    // Whoever read our output may have seen enough (`| head`).
    if (error.code === 'EPIPE') process.exit(0);
    process.stderr.write(`beit3: Cannot write the results to stdout: ${error.message}.\n`);
    process.exit(BAD_INPUT);
  });
  // Nothing is left to say it on.
  process.stderr.on('error', () => {});
  try {
    return await dispatch(argv);
  } catch (error) {
    // Names of files and tensors may hold line ends and escape sequences.
    process.stderr.write(`beit3: ${printable(messageOf(error))}\n`);
    if (error instanceof InputError) return BAD_INPUT;
    if (process.env.AZULEJO_DEBUG === '1' && error instanceof Error) process.stderr.write(`${error.stack}\n`);
    return FAILED;
  } finally {
    for (const name of backendNames()) await disposeBackend(name).catch(() => {});
  }
}

async function dispatch(argv: readonly string[]): Promise<number> {
  const [first, ...rest] = argv;
  const wantsHelp = first === 'help' || first === '--help' || first === '-h';
  if (first === undefined || (wantsHelp && (rest.length === 0 || rest[0] === 'help'))) {
    return print(overview(await version()));
  }
  if (first === '--version') return print(await version());
  const { name, command, rest: words } = await findCommand(wantsHelp ? rest : argv);
  if ('commands' in command) return print(groupHelp(name, command));
  const end = words.indexOf('--');
  const flags = end < 0 ? words : words.slice(0, end);
  if (wantsHelp || flags.includes('--help') || flags.includes('-h')) return print(commandHelp(command));
  const args = Args.parse(name, words, command.flags);
  const lines: { end(): void }[] = [];
  let takeOver: ((code: number) => void) | null = null;
  const context = await contextOf(args, lines, (handler) => {
    takeOver = handler;
  });
  const onSignal = (signal: keyof typeof INTERRUPTED): void => {
    const handler = takeOver;
    takeOver = null;
    if (handler) {
      handler(INTERRUPTED[signal]);
      return;
    }
    for (const line of lines) line.end();
    // Unfinished files go with the process.
    process.exit(INTERRUPTED[signal]);
  };
  const signals = Object.keys(INTERRUPTED) as (keyof typeof INTERRUPTED)[];
  for (const signal of signals) process.on(signal, onSignal);
  const profiling = await startProfile(args);
  try {
    const code = (await command.run(args, context)) ?? 0;
    await profiling?.end(context.note);
    return code;
  } finally {
    profiling?.abandon();
    for (const line of lines) line.end();
    for (const signal of signals) process.off(signal, onSignal);
  }
}

interface Found {
  /** `classify`, `vqkd train`. */
  readonly name: string;
  readonly command: Command | CommandGroup;
  /** What follows the name. */
  readonly rest: readonly string[];
}

/** The command that words begin with; a group where they ask for nothing in it. Throws InputError where there is none. */
async function findCommand(words: readonly string[], before = '', commands = COMMANDS): Promise<Found> {
  const [own, ...rest] = words;
  const entry = commands.get(own);
  if (!entry) {
    if (own.startsWith('-'))
      throw new InputError(
        `Flags follow the command: expected beit3 ${before}COMMAND ... ${own}; see beit3 ${before}--help.`,
      );
    const known = [...commands.keys(), ...(before === '' ? ['help'] : [])];
    throw new InputError(
      `beit3 ${before}has no command ${JSON.stringify(own)}; the nearest is ${nearest(own, known)}.`,
    );
  }
  const { command } = await entry.load();
  const name = before + own;
  const asksNothing = rest.length === 0 || rest[0] === '--help' || rest[0] === '-h';
  if (!('commands' in command) || asksNothing) return { name, command, rest };
  return findCommand(rest, `${name} `, command.commands);
}

function print(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

/** `lines` collects the progress lines, so that none stays behind an error. */
async function contextOf(args: Args, lines: { end(): void }[], onInterrupt: Context['onInterrupt']): Promise<Context> {
  const device = args.text('device') ?? 'auto';
  const known = ['auto', ...backendNames()];
  if (!known.includes(device)) {
    throw new InputError(
      `There is no device ${JSON.stringify(device)}; the nearest is ${nearest(device, known)} (of ${known.join(', ')}).`,
    );
  }
  const adapter = args.text('adapter');
  if (adapter !== undefined && device !== 'auto' && device !== 'webgpu')
    throw new InputError(
      `--adapter names a GPU of the device webgpu, and --device is ${device}; leave one of them out.`,
    );
  const threads = args.whole('threads', 1, 1024);
  return {
    out: (line) => void process.stdout.write(`${line}\n`),
    json: (value) => void process.stdout.write(`${JSON.stringify(value)}\n`),
    note: (line) => void process.stderr.write(`${line}\n`),
    progress: (what, format = megabytes) => {
      const line = createProgress(what, process.stderr, format);
      lines.push(line);
      return line;
    },
    live: () => {
      const live = createLive(process.stderr);
      if (live) lines.push(live);
      return live;
    },
    onInterrupt,
    wantsJson: args.has('json'),
    // Who names a GPU wants to use it.
    device: adapter === undefined || device !== 'auto' ? device : 'webgpu',
    adapter,
    // More than there are processors would only wait for each other.
    threads: threads && Math.min(threads, await processorCount()),
  };
}

/** The version in package.json, which lies above the sources and above dist/. */
async function version(): Promise<string> {
  const { readFile } = await import('node:fs/promises');
  const { dirname, join } = await import('node:path');
  const { fileURLToPath } = await import('node:url');
  for (let folder = dirname(fileURLToPath(import.meta.url)); ; folder = dirname(folder)) {
    const text = await readFile(join(folder, 'package.json'), 'utf8').catch(() => null);
    const found = text === null ? null : (JSON.parse(text) as { name?: string; version?: string });
    if (found?.name === 'azulejo' && found.version) return found.version;
    if (dirname(folder) === folder) return 'of unknown version';
  }
}
