/** Where a run writes what it measures: the log and TensorBoard. Node only. */

import { type LogPosition, RunLog } from '../training/log.js';
import { TensorBoardWriter } from '../training/tensorboard.js';
import type { EpochRecord, StepRecord } from './events.js';

const FLUSH_SECONDS = 5;

export class Journal {
  private flushed = performance.now();

  private constructor(
    readonly log: RunLog,
    private readonly board: TensorBoardWriter | null,
  ) {}

  /** Opens the log of a run that stands at `at`, and event files in `boardFolder` unless that is null. */
  static async open(logPath: string, boardFolder: string | null, at: LogPosition): Promise<Journal> {
    const log = await RunLog.open(logPath, at);
    return new Journal(log, boardFolder === null ? null : await TensorBoardWriter.open(boardFolder, at.step));
  }

  /** Logs a step, with the tags of the reference. */
  async step(record: StepRecord): Promise<void> {
    const { step, loss, acc, lr, minLr, weightDecay, gradNorm, lossScale } = record;
    this.log.add(record);
    this.board?.add(step, {
      'train/loss': loss,
      ...(acc === undefined ? {} : { 'train/acc': acc }),
      'opt/lr': lr,
      'opt/min_lr': minLr,
      'opt/weight_decay': weightDecay,
      ...(gradNorm === null ? {} : { 'opt/grad_norm': gradNorm }),
      ...(lossScale === undefined ? {} : { 'opt/loss_scale': lossScale }),
    });
    if (performance.now() - this.flushed > 1000 * FLUSH_SECONDS) await this.flush();
  }

  async epoch(record: EpochRecord): Promise<void> {
    const { epoch, validation, key } = record;
    this.log.add(record);
    if (validation !== null) {
      const tags = new Map(Object.entries(validation).map(([name, value]) => [`val/${name}`, value]));
      if (key !== null) tags.set('perf/acc', validation[key]);
      this.board?.add(epoch, Object.fromEntries(tags));
    }
    await this.flush();
  }

  async flush(): Promise<void> {
    this.flushed = performance.now();
    await this.log.flush();
    await this.board?.flush();
  }
}
