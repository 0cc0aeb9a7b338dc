/** What each part of the benchmark is measured with, and what is reached there without looking. */

import type { EmojiEntry } from '../corpus.js';
import { cleanText } from '../text.js';
import { type EmojiNlvr2Example, nlvr2Examples } from './nlvr2.js';
import type { EmojiBenchmark } from './splits.js';
import { type EmojiVqaExample, type VqaForm, vqaExamples } from './vqa.js';

/** The parts that are measured. */
export const MEASURED_SPLITS = ['val', 'test', 'zeroShot', 'zeroShotKnownStyles'] as const;
export type MeasuredSplit = (typeof MEASURED_SPLITS)[number];

export interface EvaluationSet {
  /** Pictures for classes, captions and retrieval; those of no class are not classified. */
  readonly entries: readonly EmojiEntry[];
  readonly questions: readonly EmojiVqaExample[];
  readonly pairs: readonly EmojiNlvr2Example[];
}

/** Questions, and sentences with their pairs, of a part. */
export const MEASURED_EXAMPLES = 2000;

/** The same set each time for the same benchmark. */
export function evaluationSet(benchmark: EmojiBenchmark, split: MeasuredSplit): EvaluationSet {
  const entries = benchmark[split];
  // Not the seed of training.
  const options = { seed: (benchmark.seed + 1) % 2 ** 53, count: MEASURED_EXAMPLES };
  return {
    entries,
    questions: vqaExamples(entries, options),
    pairs: nlvr2Examples(entries, { ...options, split }),
  };
}

/** In per cent, as the metrics. */
export interface Chance {
  /** Each class as likely as any other; and always the class that has the most pictures in this part. */
  readonly classification: { readonly acc1: number; readonly acc5: number; readonly mostFrequent: number };
  /** Of n pictures and n labels, either way. */
  readonly retrieval: { readonly r1: number; readonly r5: number; readonly r10: number };
  /** Always the label that this part has most often. */
  readonly captioning: { readonly exactMatch: number };
  /** The most that is reached from the question alone: over all, and by form. */
  readonly vqa: { readonly accuracy: number; readonly byForm: Readonly<Partial<Record<VqaForm, number>>> };
  /** A coin; it judges all four pairs of a sentence rightly once in sixteen. */
  readonly nlvr2: { readonly accuracy: number; readonly consistency: number };
}

/** What is reached on a part without looking at the pictures. */
export function chance(benchmark: EmojiBenchmark, set: EvaluationSet): Chance {
  const { classes, classOf } = benchmark;
  const { entries, questions } = set;
  const n = entries.length;
  const classified = entries.map(classOf).filter((label) => label !== undefined);
  const byForm = new Map<VqaForm, number[]>();
  for (const { form, choices } of questions) byForm.set(form, [...(byForm.get(form) ?? []), 100 / choices]);
  const among = (k: number): number => 100 * Math.min(1, k / n);
  return {
    classification: {
      acc1: 100 / classes.length,
      acc5: (100 * Math.min(5, classes.length)) / classes.length,
      mostFrequent: mostFrequent(classified),
    },
    retrieval: { r1: among(1), r5: among(5), r10: among(10) },
    captioning: { exactMatch: mostFrequent(entries.map(({ label }) => cleanText(label))) },
    vqa: {
      accuracy: mean(questions.map(({ choices }) => 100 / choices)),
      byForm: Object.fromEntries([...byForm].map(([form, values]) => [form, mean(values)])),
    },
    nlvr2: { accuracy: 50, consistency: 100 / 16 },
  };
}

/** The share of the value that comes most often, in per cent. */
function mostFrequent<T>(values: readonly T[]): number {
  const counts = new Map<T, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return (100 * Math.max(...counts.values())) / values.length;
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}
