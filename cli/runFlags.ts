/** Flags and events that all commands share which train by steps. */
import { openBackend } from '../beit3/pipeline/session.js';
import type { RunEvent, RunResult } from '../beit3/training/run.js';
import type { Backend } from '../core/backend.js';
import { InputError } from '../core/errors.js';
import type { Args } from './args.js';
import type { Context, Flags } from './command.js';
import { grouped } from './format.js';
import { RunLine } from './runLine.js';
import { commandLine } from './trainingLine.js';

export const RUN_FLAGS: Flags = {
  resume: {
    value: 'auto|FILE|none',
    help: 'The training checkpoint to go on from: the newest readable one in --output, a file, or none.',
    default: 'auto',
    group: 'The course of the run',
  },
  'save-freq': {
    value: 'N',
    help: 'Save a training checkpoint every N steps.',
    default: '1000',
    group: 'The course of the run',
  },
  keep: { value: 'N', help: 'Training checkpoints to keep.', default: '2', group: 'The course of the run' },
  'log-dir': {
    value: 'DIR|none',
    help: 'Where TensorBoard files go.',
    default: 'tensorboard in --output',
    group: 'The course of the run',
  },
  'print-freq': {
    value: 'N',
    help: 'Print every N steps where there is no terminal.',
    default: '10',
    group: 'The course of the run',
  },
  workers: {
    value: 'N',
    help: 'Threads that load pictures; 0 for none.',
    default: 'one less than there are processors',
    group: 'The course of the run',
  },
};

/** The options of a run that the flags stand for. */
export function runOptions(args: Args) {
  const logDir = args.text('log-dir');
  return {
    resume: args.text('resume'),
    saveFreq: args.whole('save-freq', 1, 1e9),
    keep: args.whole('keep', 1, 1000),
    logDir: logDir === 'none' ? null : logDir,
    workers: args.whole('workers', 0, 256),
  };
}

/** A flag that must be there. */
export function required(args: Args, flag: string, what: string): string {
  const text = args.text(flag);
  if (text === undefined || text === '') throw new InputError(`--${flag} is missing; give ${what}.`);
  return text;
}

/** What a run leaves, in lines or as JSON; `next` is the command to go on with from the exported weights. */
export function report(
  context: Context,
  result: RunResult & { readonly model: string | null },
  next: (model: string) => string,
): void {
  if (context.wantsJson) {
    context.json(result);
    return;
  }
  if (result.model !== null) {
    context.out(`After ${grouped(result.steps)} steps: ${result.model}`);
    context.out(`Next: ${next(result.model)}`);
  }
  if (result.checkpoint !== null) context.out(`Training checkpoint: ${result.checkpoint}`);
  context.out(`Log: ${result.log}`);
}

/** What a command hands to its run. */
export interface Course {
  readonly backend: Backend;
  readonly signal: AbortSignal;
  readonly onEvent: (event: RunEvent) => void;
  readonly onLoading: (done: number, total: number) => void;
}

/** Shows a run, ends it on Ctrl-C after its step, and tells how to go on; gives its result and the exit code. */
export async function course<R extends RunResult>(
  args: Args,
  context: Context,
  run: (course: Course) => Promise<R>,
): Promise<{ readonly result: R; readonly code: number | undefined }> {
  const { device, adapter, threads } = context;
  const backend = await openBackend({ checkpoint: '', device, adapter, threads });
  const interrupt = new AbortController();
  let code = 0;
  context.onInterrupt((exitCode) => {
    code = exitCode;
    interrupt.abort();
    context.note('Ending after this step; press again to end at once, without saving.');
  });
  const line = new RunLine(context, args.whole('print-freq', 1, 1e9) ?? 10);
  const loading = context.progress('loading');
  try {
    const result = await run({
      backend,
      signal: interrupt.signal,
      onEvent: (event) => line.show(event),
      onLoading: (done, total) => (done >= total ? loading.end() : loading.update(done, total)),
    });
    line.end();
    if (!result.interrupted) return { result, code: undefined };
    context.note(`Ended after step ${grouped(result.steps)}; go on with: ${commandLine(process.argv.slice(2))}`);
    return { result, code };
  } finally {
    loading.end();
    line.end();
  }
}
