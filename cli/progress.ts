import { grouped } from './format.js';

/** A line on stderr that shows how far something is. */
export interface Progress {
  /** `total` is null while it is not known. */
  update(done: number, total: number | null): void;
  /** Removes the line. */
  end(): void;
}

/** Text that changes in place. */
export interface Live {
  show(text: string): void;
  /** Removes it. */
  end(): void;
}

/** Text on a terminal; null when the stream is none. */
export function createLive(stream: NodeJS.WriteStream): Live | null {
  if (!stream.isTTY) return null;
  let last = 0;
  return {
    show(text) {
      const now = Date.now();
      if (now - last < INTERVAL_MS) return;
      last = now;
      stream.write(`\r\x1b[K${text.slice(0, (stream.columns || 80) - 1)}`);
    },
    end() {
      if (last > 0) stream.write('\r\x1b[K');
      last = 0;
    },
  };
}

const INTERVAL_MS = 100;
const BAR = 24;

export function createProgress(what: string, stream: NodeJS.WriteStream, format: (n: number) => string): Progress {
  if (!stream.isTTY) return { update: () => {}, end: () => {} };
  let last = 0;
  let shown = false;
  return {
    update(done, total) {
      const now = Date.now();
      if (now - last < INTERVAL_MS && done !== total) return;
      last = now;
      shown = true;
      const filled = total ? Math.round((done / total) * BAR) : 0;
      const bar = total
        ? `[${'#'.repeat(filled)}${'.'.repeat(BAR - filled)}] ${Math.floor((done / total) * 100)}% of ${format(total)}`
        : format(done);
      stream.write(`\r\x1b[K${`${what} ${bar}`.slice(0, (stream.columns || 80) - 1)}`);
    },
    end() {
      if (shown) stream.write('\r\x1b[K');
      shown = false;
    },
  };
}

/** One live line, begun anew for each thing that is done; what has no total is counted in rows. */
export class ProgressLines {
  private what = '';
  private line: Progress | undefined;

  /** `format` writes numbers that have a total. */
  constructor(
    private readonly context: { progress(what: string, format?: (n: number) => string): Progress },
    private readonly format: (n: number) => string,
  ) {}

  update(what: string, done: number, total: number | null): void {
    if (what !== this.what) {
      this.end();
      this.line = this.context.progress(what, total === null ? grouped : this.format);
      this.what = what;
    }
    this.line?.update(done, total);
  }

  end(): void {
    this.line?.end();
    this.line = undefined;
    this.what = '';
  }
}
