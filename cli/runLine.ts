/** How a run by steps is shown: one line that changes in place, or a line every few steps where there is no terminal. */
import type { RunEvent, StepLog } from '../beit3/training/run.js';
import type { Context } from './command.js';
import { grouped, printable } from './format.js';
import type { Live } from './progress.js';
import { clock } from './trainingLine.js';

/** Steps that the shown numbers and speed are means of. */
const WINDOW = 20;
/** Numbers of a step that have places of their own, or none. */
const KNOWN = new Set(['type', 'step', 'lr', 'seconds', 'dataSeconds', 'loss', 'gradNorm']);

export class RunLine {
  private readonly live: Live | null;
  private readonly recent: StepLog[] = [];
  private total = 0;

  constructor(
    private readonly context: Context,
    private readonly every: number,
  ) {
    this.live = context.live();
  }

  show(event: RunEvent): void {
    if (event.type === 'note') this.note(event.text);
    else if (event.type === 'saved') this.note(`Saved ${event.path}.`);
    else if (event.type === 'step') this.step(event);
    else {
      this.total = event.totalSteps;
      this.note(`${grouped(event.parameters)} parameters, ${grouped(event.totalSteps)} steps.`);
    }
  }

  end(): void {
    this.live?.end();
  }

  private note(text: string): void {
    this.live?.end();
    this.context.note(printable(text));
  }

  private step(record: StepLog): void {
    this.recent.push(record);
    if (this.recent.length > WINDOW) this.recent.shift();
    if (this.live) this.live.show(this.line(record));
    else if (record.step % this.every === 0 || record.step === this.total) this.context.note(this.line(record));
  }

  private line({ step, lr }: StepLog): string {
    const mean = (name: string): number =>
      this.recent.reduce((n, r) => n + Number(r[name] ?? 0), 0) / Math.max(1, this.recent.length);
    const waiting = (100 * mean('dataSeconds')) / mean('seconds');
    const others = Object.keys(this.recent[this.recent.length - 1]).filter((name) => !KNOWN.has(name));
    const shown = (name: string): string =>
      /acc$|use$/i.test(name) ? `${(100 * mean(name)).toFixed(1)}%` : mean(name).toPrecision(4);
    return [
      `step ${grouped(step)}/${grouped(this.total)}`,
      `loss ${mean('loss').toFixed(4)}`,
      ...others.map((name) => `${name} ${shown(name)}`),
      `lr ${lr.toExponential(2)}`,
      `grad norm ${mean('gradNorm').toPrecision(3)}`,
      `${mean('seconds').toPrecision(3)} s/step`,
      ...(waiting >= 1 ? [`${waiting.toFixed(0)}% waiting for data`] : []),
      `ETA ${clock(mean('seconds') * (this.total - step))}`,
    ].join('  ');
  }
}
