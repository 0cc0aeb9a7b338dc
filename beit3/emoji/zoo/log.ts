/** The log of a run: one JSON object a line, a line for every so many steps and one at the end. */

import type { Task } from '../../config.js';
import { writeWhole } from '../results.js';
import type { JointStep } from './train.js';

export interface LogLine {
  readonly step: number;
  readonly lr: number;
  /** Means since the line before. */
  readonly gradNorm: number;
  readonly loss: Partial<Record<Task, number>>;
  /** Processor minutes of all threads since the run began. */
  readonly cpuMinutes: number;
}

/** Steps that one line stands for. */
export const LOG_EVERY = 100;

export class JointLog {
  readonly #path: string;
  #lines: LogLine[] = [];
  #recent: JointStep[] = [];

  constructor(path: string) {
    this.#path = path;
  }

  /** Takes over what an earlier part of the run wrote up to a step. */
  async resume(step: number): Promise<void> {
    const { readFile } = await import('node:fs/promises');
    const text = await readFile(this.#path, 'utf8').catch(() => '');
    const lines = text.split('\n').filter((line) => line !== '');
    this.#lines = lines.map((line) => JSON.parse(line) as LogLine).filter((line) => line.step <= step);
  }

  /** Losses of the steps since the last line, by task. */
  get recent(): Partial<Record<Task, number>> {
    const tasks = [...new Set(this.#recent.map(({ task }) => task))];
    return Object.fromEntries(
      tasks.map((task) => [task, mean(this.#recent.filter((s) => s.task === task).map(({ loss }) => loss))]),
    );
  }

  /** `isLast`: the run ends here, so that the line is written however few steps it stands for. */
  async add(step: JointStep, cpuSeconds: number, isLast: boolean): Promise<void> {
    this.#recent.push(step);
    if (step.step % LOG_EVERY !== 0 && !isLast) return;
    this.#lines.push({
      step: step.step,
      lr: Number(step.lr.toPrecision(4)),
      gradNorm: mean(this.#recent.map(({ gradNorm }) => gradNorm)),
      loss: this.recent,
      cpuMinutes: Number((cpuSeconds / 60).toFixed(2)),
    });
    this.#recent = [];
    await writeWhole(this.#path, this.#lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  }
}

function mean(values: readonly number[]): number {
  return Number((values.reduce((sum, value) => sum + value, 0) / values.length).toFixed(4));
}
