/** The results of the study as Markdown. */
import { LOSSES, type LossName } from '../../pretrain/losses.js';
import { STUDY_TASKS } from './arms.js';
import { ARMS, type Arm } from './recipe.js';
import { type Scores, type SeedResults, STUDY_SPLITS, type StudySplit } from './study.js';

const SPLITS: Record<StudySplit, string> = {
  val: 'known styles',
  test: 'unseen style',
  zeroShot: 'held-out emoji, unseen style',
  zeroShotKnownStyles: 'held-out emoji, known styles',
};
const KINDS: Record<LossName, string> = {
  image: 'patches of pictures',
  text: 'words of texts',
  pairImage: 'patches of pairs',
  pairText: 'words of pairs',
};
const NAMES: Record<Arm, string> = {
  pretrained: 'pretrained',
  tuned: 'pretrained, then tuned',
  scratch: 'from scratch',
};
/** What is shown of each task. */
const METRICS: readonly (readonly [task: (typeof STUDY_TASKS)[number], metric: string, name: string])[] = [
  ['retrieval', 'r1', 'Retrieval, pictures from names, R@1'],
  ['retrieval', 'r5', 'Retrieval, pictures from names, R@5'],
  ['retrieval', 'textR1', 'Retrieval, names from pictures, R@1'],
  ['classification', 'acc1', 'Classification, acc@1'],
  ['classification', 'acc5', 'Classification, acc@5'],
];

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;
const short = (value: number): string => value.toFixed(value < 10 ? 2 : 1);

/** `12.3 (11.9, 12.2, 12.8)`: the mean, and the seeds in their order. */
function shown(values: readonly number[]): string {
  return values.length < 2 ? short(values[0]) : `${short(mean(values))} (${values.map(short).join(', ')})`;
}

function rows(cells: readonly (readonly string[])[]): string[] {
  const [head, ...rest] = cells;
  return [head, head.map(() => '---'), ...rest].map((row) => `| ${row.join(' | ')} |`);
}

/** All arms, metric by metric; seeds that lack one of them are left out. */
export function armsTable(seeds: readonly SeedResults[]): string {
  const done = seeds.filter(({ arms }) => STUDY_TASKS.every((task) => ARMS.every((arm) => arms[`${arm} ${task}`])));
  if (done.length === 0) return '';
  const head = ['', '', ...ARMS.map((arm) => NAMES[arm])];
  const body = METRICS.flatMap(([task, metric, name]) =>
    STUDY_SPLITS.map((split, i) => [
      i === 0 ? name : '',
      SPLITS[split],
      ...ARMS.map((arm) => {
        const scores = done.map(({ arms }) => arms[`${arm} ${task}`]?.scores[split] as Scores);
        return shown(scores.map((found) => (found as Readonly<Record<string, number>>)[metric]));
      }),
    ]),
  );
  return rows([head, ...body]).join('\n');
}

/** What of the hidden is predicted rightly, beside always saying what is hidden most often. */
export function maskedTable(seeds: readonly SeedResults[]): string {
  const found = seeds.flatMap(({ pretraining }) => pretraining?.masked ?? []);
  if (found.length === 0) return '';
  const head = ['', ...STUDY_SPLITS.flatMap((split) => [SPLITS[split], 'chance'])];
  const body = LOSSES.map((kind) => [
    KINDS[kind],
    ...STUDY_SPLITS.flatMap((split) => [
      shown(found.map((masked) => masked[split][kind].accuracy)),
      short(mean(found.map((masked) => masked[split][kind].chance))),
    ]),
  ]);
  return rows([head, ...body]).join('\n');
}

export function tokenizerTable(seeds: readonly SeedResults[]): string {
  const found = seeds.flatMap(({ tokenizer }) => tokenizer?.use ?? []);
  if (found.length === 0) return '';
  const row = (name: string, of: 'train' | 'test'): string[] => [
    name,
    shown(found.map((use) => 100 * use[of].use)),
    shown(found.map((use) => use[of].perplexity)),
  ];
  const head = ['codebook', 'codes used, per cent', 'perplexity'];
  return rows([head, row('pictures of training', 'train'), row('unseen style', 'test')]).join('\n');
}
