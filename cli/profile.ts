/** `--profile`: a table of kernels on stderr and a trace in a file. */
import { writeFileAtomically } from '../checkpoints/index.js';
import { InputError } from '../core/errors.js';
import { type Profile, Profiler } from '../core/profiler.js';
import type { Args } from './args.js';
import { grouped, printable, table } from './format.js';

const DEFAULT_FILE = 'profile.json';
/** Ops in the table; the rest is one line. */
const MOST_ROWS = 20;

/** A profile that goes on. */
export interface Profiling {
  /** Ends it, writes the trace and tells the table. */
  end(note: (line: string) => void): Promise<void>;
  /** Ends it where that has not been done. */
  abandon(): void;
}

/**
 * Begins a profile where `--profile` was given. Throws InputError for a name that is none of a JSON file, and for a
 * folder that does not exist: before hours of training, not after them.
 */
export async function startProfile(args: Args): Promise<Profiling | null> {
  if (!args.has('profile')) return null;
  const file = args.text('profile') || DEFAULT_FILE;
  if (!/\.json$/i.test(file))
    throw new InputError(`A profile is JSON: expected a name that ends in .json, got --profile=${file}.`);
  const [{ stat }, { dirname }] = await Promise.all([import('node:fs/promises'), import('node:path')]);
  const isFolder = await stat(dirname(file)).then(
    (found) => found.isDirectory(),
    () => false,
  );
  if (!isFolder) throw new InputError(`Cannot write ${file}: its folder does not exist.`);
  const profiler = new Profiler();
  return {
    async end(note) {
      const profile = await profiler.stop();
      if (profile === null) {
        note('Nothing was computed, so there is no profile.');
        return;
      }
      await writeFileAtomically(file, (sink) => sink.write(new TextEncoder().encode(profile.trace)));
      for (const line of profileText(profile).split('\n')) note(line);
      note(`Wrote ${printable(file)}: open it in chrome://tracing or https://ui.perfetto.dev.`);
    },
    abandon: () => profiler.abandon(),
  };
}

/** The table, and what it is held against. */
export function profileText({ backend, measuredOn, milliseconds, rows, ceilings, isCut }: Profile): string {
  const total = rows.reduce((n, row) => n + row.milliseconds, 0);
  const share = (part: number | null) => (part === null ? '' : `${(100 * part).toFixed(1)}%`);
  const rate = (n: number) => (n === 0 ? '' : (n / 1e9).toFixed(n < 1e10 ? 2 : 0));
  const line = (op: string, ms: number, launches: number) => [
    op,
    ms.toFixed(2),
    share(total > 0 ? ms / total : 0),
    grouped(launches),
  ];
  const shown = rows.slice(0, MOST_ROWS).map((row) => {
    const flops = row.flops > 0 ? share(row.flopShare) : '';
    const cells = line(row.op, row.milliseconds, row.launches);
    return [...cells, rate(row.flopRate), flops, rate(row.byteRate), share(row.byteShare)];
  });
  const rest = rows.slice(MOST_ROWS);
  if (rest.length > 0) {
    const sum = (of: (row: (typeof rows)[number]) => number) => rest.reduce((n, row) => n + of(row), 0);
    const cells = line(
      `${rest.length} others`,
      sum((row) => row.milliseconds),
      sum((row) => row.launches),
    );
    shown.push([...cells, '', '', '', '']);
  }
  const launches = rows.reduce((n, row) => n + row.launches, 0);
  const head = ['kernel', 'ms', 'time', 'launches', 'GFLOP/s', 'of peak', 'GB/s', 'of peak'];
  const where = measuredOn === 'device' ? `on the device ${backend}` : `on the host, for ${backend}`;
  const lines = [
    table([head, ...shown]),
    `${grouped(launches)} launches took ${total.toFixed(1)} ms of ${milliseconds.toFixed(1)} ms, measured ${where}.`,
  ];
  if (isCut) lines.push('It took longer than a profile holds: this is of the beginning.');
  if (ceilings) {
    const giga = (n: number) => `${grouped(Math.round(n / 1e9))}`;
    lines.push(
      `Measured peaks: ${giga(ceilings.float32)} GFLOP/s in float32${ceilings.matrix === null ? '' : `, ${giga(ceilings.matrix)} in matrix units`}, ${giga(ceilings.bandwidth)} GB/s.`,
    );
  }
  return lines.join('\n');
}
