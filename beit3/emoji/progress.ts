/** What the quickstart says while it works, and how. */

import type { RetrievalRecall } from '../metrics/retrieval.js';
import type { EmojiStep } from './train.js';

/** A line that is rewritten in a terminal, and elsewhere printed now and then. */
export interface Line {
  update(text: string): void;
  /** Ends the line; with a text, that stays. */
  end(text?: string): void;
}

const TERMINAL_MS = 100;
const LOG_MS = 10_000;

export function createLine(stream: NodeJS.WriteStream): Line {
  const live = stream.isTTY === true;
  let last = live ? 0 : Date.now();
  return {
    update(text) {
      const now = Date.now();
      if (now - last < (live ? TERMINAL_MS : LOG_MS)) return;
      last = now;
      stream.write(live ? `\r\x1b[K${text.slice(0, (stream.columns ?? 80) - 1)}` : `${text}\n`);
    },
    end(text) {
      if (live) stream.write('\r\x1b[K');
      if (text !== undefined) stream.write(`${text}\n`);
    },
  };
}

/** 12,005 */
export const count = (n: number): string => n.toLocaleString('en-US');

/** 3:05 */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, '0')}`;
}

/** Of this many steps the loss and the speed are means. */
const WINDOW = 20;

/** Makes the text of each step: step, loss, learning rate, images a second and the time that is left. */
export function stepTexts(batch: number): (step: EmojiStep) => string {
  const recent: EmojiStep[] = [];
  return (step) => {
    recent.push(step);
    if (recent.length > WINDOW) recent.shift();
    const loss = recent.reduce((sum, s) => sum + s.loss, 0) / recent.length;
    const span = step.seconds - recent[0].seconds;
    const speed = recent.length > 1 ? ((recent.length - 1) * batch) / span : batch / step.seconds;
    const left = (step.seconds / step.progress) * (1 - step.progress);
    return [
      `step ${count(step.step)}`,
      `loss ${loss.toFixed(3)}`,
      `lr ${step.lr.toExponential(1)}`,
      `${count(Math.round(speed))} images/s`,
      `${duration(left)} left`,
    ].join('  ');
  };
}

/** The recalls of both directions beside those of guessing among `candidates`. */
export function recallTable(recall: RetrievalRecall, candidates: number): string {
  const percent = (value: number) => `${value.toFixed(value < 1 ? 2 : 1)}%`.padStart(8);
  const row = (name: string, values: readonly number[]) => `  ${name.padEnd(24)}${values.map(percent).join('')}`;
  return [
    `  ${''.padEnd(24)}${['R@1', 'R@5', 'R@10'].map((head) => head.padStart(8)).join('')}`,
    row('pictures from labels', [recall.ir_r1, recall.ir_r5, recall.ir_r10]),
    row('labels from pictures', [recall.tr_r1, recall.tr_r5, recall.tr_r10]),
    row(
      'chance',
      [1, 5, 10].map((k) => (100 * Math.min(k, candidates)) / candidates),
    ),
  ].join('\n');
}
