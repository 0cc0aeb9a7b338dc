/** The log of a run: one JSON record a line, a record for each step and each epoch. Node only. */
import { diskError, writeFileAtomically } from '../../checkpoints/sink.js';
import { readLines } from '../data/jsonl.js';

/** What the log must know of a record. */
export interface LogRecord {
  readonly type: string;
  /** Steps done. */
  readonly step: number;
  readonly epoch?: number;
}

/** Where a run stands: what the log may hold of it. */
export interface LogPosition {
  /** Steps done. */
  readonly step: number;
  /** The epoch that is not finished. */
  readonly epoch: number;
}

/** Appends records; what was added is in the file after `flush`. */
export class RunLog {
  private pending = '';

  private constructor(readonly path: string) {}

  /**
   * Opens the log of a run that stands at `at`: records of later steps, which come anew, are taken out, and so is a last
   * line that was cut off. Throws InputError when the file cannot be read or written.
   */
  static async open(path: string, at: LogPosition): Promise<RunLog> {
    const { stat } = await import('node:fs/promises');
    const exists = (await stat(path).catch(() => null)) !== null;
    if (exists) await keepOnly(path, (record) => isBefore(record, at));
    return new RunLog(path);
  }

  add(record: LogRecord): void {
    this.pending += `${JSON.stringify(record)}\n`;
  }

  /** Throws InputError when the disk refuses. */
  async flush(): Promise<void> {
    if (this.pending === '') return;
    const { appendFile } = await import('node:fs/promises');
    const text = this.pending;
    this.pending = '';
    await appendFile(this.path, text).catch((error: unknown) => diskError(this.path, error));
  }
}

/** A step counts once it is done, an epoch once it is validated. */
function isBefore(record: Partial<LogRecord>, at: LogPosition): boolean {
  if (record.type === 'step') return (record.step ?? Number.POSITIVE_INFINITY) <= at.step;
  return record.type === 'epoch' && (record.epoch ?? Number.POSITIVE_INFINITY) < at.epoch;
}

async function keepOnly(path: string, holds: (record: Partial<LogRecord>) => boolean): Promise<void> {
  await writeFileAtomically(path, async (sink) => {
    const encoder = new TextEncoder();
    for await (const { text } of readLines(path, 'the log of a run')) {
      if (holds(parsed(text))) await sink.write(encoder.encode(`${text}\n`));
    }
  });
}

/** What is no record is no record of an earlier step either. */
function parsed(text: string): Partial<LogRecord> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Partial<LogRecord>) : {};
  } catch {
    return {};
  }
}
