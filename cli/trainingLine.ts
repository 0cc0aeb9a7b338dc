/** How a training run is shown: one line that changes in place, or a line every few steps where there is no terminal. */
import type { EpochRecord, FinetuneEvent, StepRecord } from '../beit3/finetune/index.js';
import type { Context } from './command.js';
import { grouped, printable } from './format.js';
import type { Live } from './progress.js';

/** Steps that the shown loss and speed are means of. */
const WINDOW = 20;

export class TrainingLine {
  private readonly live: Live | null;
  private readonly recent: StepRecord[] = [];
  private total = 0;
  private epochs = 0;

  constructor(
    private readonly context: Context,
    private readonly every: number,
  ) {
    this.live = context.live();
  }

  show(event: FinetuneEvent): void {
    if (event.type === 'note') this.note(event.text);
    else if (event.type === 'saved') this.note(`Saved ${event.path}.`);
    else if (event.type === 'validation') this.live?.show(`validation ${event.done}/${event.total}`);
    else if (event.type === 'step') this.step(event);
    else if (event.type === 'epoch') this.note(epochLine(event, this.epochs));
    else {
      this.total = event.totalSteps;
      this.epochs = event.epochs;
      const { samples, parameters, stepsPerEpoch, samplesPerStep, batchSize } = event;
      const batches = samplesPerStep > batchSize ? ` (${samplesPerStep / batchSize} batches of ${batchSize})` : '';
      this.note(
        `${grouped(samples)} samples, ${grouped(parameters)} parameters, ${grouped(stepsPerEpoch)} steps of ${grouped(samplesPerStep)}${batches} an epoch, ${grouped(event.totalSteps)} in all.`,
      );
    }
  }

  end(): void {
    this.live?.end();
  }

  private note(text: string): void {
    this.live?.end();
    this.context.note(printable(text));
  }

  private step(record: StepRecord): void {
    this.recent.push(record);
    if (this.recent.length > WINDOW) this.recent.shift();
    if (this.live) this.live.show(this.line(record));
    else if (record.step % this.every === 0 || record.step === this.total) this.context.note(this.line(record));
  }

  private line({ step, epoch, lr, gradNorm, lossScale }: StepRecord): string {
    const sum = (value: (r: StepRecord) => number): number => this.recent.reduce((n, r) => n + value(r), 0);
    const seconds = sum((r) => r.seconds);
    const waiting = (100 * sum((r) => r.dataSeconds)) / seconds;
    const left = (seconds / this.recent.length) * (this.total - step);
    return [
      `epoch ${epoch + 1}/${this.epochs}`,
      `step ${step}/${this.total}`,
      `loss ${(sum((r) => r.loss) / this.recent.length).toFixed(4)}`,
      `lr ${lr.toExponential(2)}`,
      `grad norm ${gradNorm === null ? 'overflow' : gradNorm.toPrecision(3)}`,
      ...(lossScale === undefined ? [] : [`scale ${lossScale}`]),
      `${Number((sum((r) => r.samples) / seconds).toPrecision(3))} samples/s`,
      ...(waiting >= 1 ? [`${waiting.toFixed(0)}% waiting for data`] : []),
      `ETA ${clock(left)}`,
    ].join('  ');
  }
}

function epochLine({ epoch, train, validation, key, isBest }: EpochRecord, epochs: number): string {
  const named = (values: Readonly<Record<string, number>>): string =>
    Object.entries(values)
      .map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`)
      .join(', ');
  const best = isBest ? `; the best ${key} so far` : '';
  const measured = validation && Object.keys(validation).length > 0 ? `; validation: ${named(validation)}${best}` : '';
  return `Epoch ${epoch + 1}/${epochs}: ${named(train)}${measured}.`;
}

/** 1:02:03 */
export function clock(seconds: number): string {
  const s = Math.round(seconds);
  const two = (n: number): string => String(n).padStart(2, '0');
  return `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}

/** A command as it can be typed again; what it was to resume from is left to be found. */
export function commandLine(argv: readonly string[]): string {
  const words: string[] = [];
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === '--resume') i++;
    else if (!argv[i].startsWith('--resume=')) words.push(argv[i]);
  }
  const quoted = words.map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`));
  return `beit3 ${quoted.join(' ')}`;
}
