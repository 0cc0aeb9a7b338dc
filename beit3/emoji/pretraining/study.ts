/** The study, seed by seed: each part is made once and kept on disk, so that it goes on where it was ended. Needs Node. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openCheckpoint, writeSafetensors } from '../../../checkpoints/index.js';
import type { Backend } from '../../../core/backend.js';
import type { Builder } from '../../../nn/builder.js';
import type { Module } from '../../../nn/module.js';
import { makeFilled, writableTensors } from '../../checkpoint.js';
import { parseConfig } from '../../config.js';
import { Pretraining } from '../../pretrain/model.js';
import { loadVqKd, saveVqKd } from '../../vqkd/checkpoint.js';
import { type CodeUse, useOf } from '../../vqkd/meter.js';
import type { VqKd } from '../../vqkd/vqkd.js';
import { shippedModel } from '../../zoo/shipped.js';
import type { EmojiCorpus, EmojiEntry } from '../corpus.js';
import { makeFolder } from '../results.js';
import { cleanText, emojiTexts } from '../text.js';
import { emojiModelSpec } from '../train.js';
import type { JointEmoji } from '../zoo/data.js';
import { classificationByNames, type JointScores, retrieval } from '../zoo/evaluate.js';
import { loadJointModel } from '../zoo/load.js';
import { JointModel, type JointSpec } from '../zoo/model.js';
import type { PreparedBenchmark } from '../zoo/prepare.js';
import {
  type Finetuning,
  finetune,
  type MaskedAccuracy,
  maskedAccuracy,
  pretrain,
  STUDY_TASKS,
  type Start,
  type StudyTask,
} from './arms.js';
import { StudyBatches } from './batches.js';
import type { Budget, Trained } from './budget.js';
import { ARMS, type Arm, RECIPE, type StudyTimes } from './recipe.js';
import { codeCounts, tokenizerConfig, trainTokenizer } from './tokenizer.js';

/** What is measured: known styles, the unseen style, and in both the emoji that training shows in no style. */
export const STUDY_SPLITS = ['val', 'test', 'zeroShot', 'zeroShotKnownStyles'] as const;
export type StudySplit = (typeof STUDY_SPLITS)[number];
export type Scores = JointScores['retrieval'] | JointScores['imageclassification'];

export interface ArmResult {
  readonly trained: Trained;
  readonly scores: Readonly<Record<StudySplit, Scores>>;
}

/** What is known of a seed so far. */
export interface SeedResults {
  readonly seed: number;
  readonly tokenizer?: { readonly trained: Trained; readonly use: { readonly train: CodeUse; readonly test: CodeUse } };
  readonly pretraining?: { readonly trained: Trained; readonly masked: Readonly<Record<StudySplit, MaskedAccuracy>> };
  readonly tuning?: ArmResult;
  readonly arms: Readonly<Partial<Record<`${Arm} ${StudyTask}`, ArmResult>>>;
}

export interface Study {
  readonly backend: Backend;
  readonly corpus: EmojiCorpus;
  readonly prepared: PreparedBenchmark;
  readonly times: StudyTimes;
  /** Where tokenizers and pretrained models are kept. */
  readonly folder: string;
  readonly onStep?: (
    what: string,
    done: { readonly loss: number; readonly progress: number; readonly step: number },
  ) => void;
  readonly signal?: AbortSignal;
}

/** Sizes of the models of both arms. */
export function studySpec({ tokenizer, classes, answers }: PreparedBenchmark): JointSpec {
  const { width, layers, size, patch } = RECIPE;
  const { config } = emojiModelSpec({ width, layers, size, patch, vocabulary: tokenizer.vocabularySize });
  const joint = parseConfig({ normalize_output: true }, 'The recipe', config);
  return { config: joint, classes: classes.length, answers: answers.length };
}

/** Does what `known` lacks; `onResult` is told of each part that is done. */
export async function studySeed(
  study: Study,
  known: SeedResults,
  onResult: (results: SeedResults) => Promise<void>,
): Promise<SeedResults> {
  const { seed } = known;
  const { backend, times, prepared } = study;
  const spec = studySpec(prepared);
  const names = prepared.classes.map((name) => prepared.tokenizer.encode(cleanText(name)).ids);
  const batches = new StudyBatches(prepared.data, names, seed, RECIPE.labelled);
  const folder = join(study.folder, `seed-${seed}`);
  await makeFolder(folder);
  let results = known;
  const note = async (found: Partial<SeedResults>): Promise<void> => {
    results = { ...results, ...found };
    await onResult(results);
  };
  const watch = (what: string) => ({
    signal: study.signal,
    onStep: (done: { step: number; loss: number; progress: number }) => study.onStep?.(`seed ${seed}, ${what}`, done),
  });
  const tokenizer = await tokenizerOf(study, batches, results, join(folder, 'tokenizer.safetensors'), note, watch);
  let pretrained: Pretraining | null = null;
  let tuned: JointModel | null = null;
  try {
    const shared = { spec, batches, tokenizer, results, watch };
    pretrained = await pretrainedOf(study, shared, join(folder, 'pretrained.safetensors'), note);
    const options = { seed, backend, lr: RECIPE.tuning.lr };
    const tuning = { ...options, start: pretrained, budget: { seconds: times.tuning }, ...watch('contrastive tuning') };
    tuned = await tunedOf(study, { spec, batches, results }, tuning, join(folder, 'tuned.safetensors'), note);
    const retrieval = tuned.of('retrieval');
    const starts: Record<Arm, Start | null> = {
      pretrained,
      tuned: { beit3: retrieval.beit3, retrieval },
      scratch: null,
    };
    for (const task of STUDY_TASKS) {
      for (const arm of ARMS) {
        const name = `${arm} ${task}` as const;
        if (results.arms[name]) continue;
        const budget: Budget = { seconds: times[arm] };
        const lr = RECIPE.finetuning.lr[arm];
        const finetuning = { ...options, lr, budget, start: starts[arm], ...watch(name) };
        const { model, trained } = await finetune(task, spec, batches, finetuning);
        try {
          const scores = await scoresOf(study, model, task);
          await note({ arms: { ...results.arms, [name]: { trained, scores } } });
        } finally {
          model.dispose();
        }
      }
    }
    return results;
  } finally {
    tuned?.dispose();
    pretrained?.dispose();
    tokenizer.dispose();
  }
}

type Watch = (what: string) => Pick<Parameters<typeof trainTokenizer>[2], 'onStep' | 'signal'>;
type Note = (found: Partial<SeedResults>) => Promise<void>;

/** The tokenizer of a seed, from disk or trained. */
async function tokenizerOf(
  { backend, corpus, times, prepared }: Study,
  batches: StudyBatches,
  { seed, tokenizer }: SeedResults,
  path: string,
  note: Note,
  watch: Watch,
): Promise<VqKd> {
  if (tokenizer && existsSync(path)) return (await loadVqKd(path, { backend })).model;
  const { model: shipped } = await loadJointModel((await shippedModel()).checkpoint, backend);
  try {
    const teacher = shipped.of('retrieval');
    const budget = { seconds: times.tokenizer };
    const { model, trained } = await trainTokenizer(teacher, batches, { seed, budget, ...watch('tokenizer') });
    model.eval();
    await saveVqKd(model, tokenizerConfig(teacher.vision_head.weight.shape[1]), path);
    const use = async (entries: readonly EmojiEntry[]) => useOf(await codeCounts(model, corpus, entries));
    const train = prepared.data.emoji.flatMap(({ entries }) => entries);
    const test = prepared.splits.get('test')?.entries ?? [];
    await note({ tokenizer: { trained, use: { train: await use(train), test: await use(test) } } });
    return model;
  } finally {
    shipped.dispose();
  }
}

interface Pretrained {
  readonly spec: JointSpec;
  readonly batches: StudyBatches;
  readonly tokenizer: VqKd;
  readonly results: SeedResults;
  readonly watch: Watch;
}

/** The pretrained model of a seed, from disk or trained. */
async function pretrainedOf(
  study: Study,
  { spec, batches, tokenizer, results, watch }: Pretrained,
  path: string,
  note: Note,
): Promise<Pretraining> {
  const { backend, prepared, times } = study;
  if (results.pretraining && existsSync(path)) {
    const options = { codes: tokenizer.codes, initialisation: 'magneto' } as const;
    return loadFilled((b) => new Pretraining(b, spec.config, options), path, backend);
  }
  const { seed } = results;
  const budget = { seconds: times.pretraining };
  const { model, trained } = await pretrain(spec, tokenizer, batches, { seed, budget, ...watch('pretraining') });
  await writeSafetensors(path, writableTensors(model.namedTensors()), { config: JSON.stringify(spec.config) });
  const masked = await bySplit(async (split) => {
    const emoji = emojiOf(prepared, prepared.splits.get(split)?.entries ?? []);
    return maskedAccuracy(model, tokenizer, batches, emoji);
  });
  await note({ pretraining: { trained, masked } });
  return model;
}

/** The pretrained model after contrastive tuning, from disk or trained. */
async function tunedOf(
  study: Study,
  { spec, batches, results }: Pick<Pretrained, 'spec' | 'batches' | 'results'>,
  tuning: Finetuning,
  path: string,
  note: Note,
): Promise<JointModel> {
  if (results.tuning && existsSync(path)) return loadFilled((b) => new JointModel(b, spec), path, study.backend);
  const { model, trained } = await finetune('tuning', spec, batches, tuning);
  await writeSafetensors(path, writableTensors(model.namedTensors()), { config: JSON.stringify(spec.config) });
  await note({ tuning: { trained, scores: await scoresOf(study, model, 'retrieval') } });
  return model;
}

/** A model with the weights that an earlier part of the study kept. */
async function loadFilled<M extends Module>(make: (b: Builder) => M, path: string, backend: Backend): Promise<M> {
  const checkpoint = await openCheckpoint(path);
  try {
    return (await makeFilled(make, checkpoint.tensors, path, { backend })).model;
  } finally {
    await checkpoint.close();
  }
}

/** Entries by emoji, with their texts as token ids. */
function emojiOf({ tokenizer }: PreparedBenchmark, entries: readonly EmojiEntry[]): JointEmoji[] {
  const byHexcode = new Map<string, EmojiEntry[]>();
  for (const entry of entries) byHexcode.set(entry.hexcode, [...(byHexcode.get(entry.hexcode) ?? []), entry]);
  return Array.from(byHexcode.values(), (same) => ({
    entries: same,
    texts: emojiTexts(same[0]).map((text) => tokenizer.encode(text).ids),
    label: undefined,
  }));
}

function scoresOf({ corpus, prepared }: Study, model: JointModel, task: StudyTask): Promise<ArmResult['scores']> {
  const measure = task === 'retrieval' ? retrieval : classificationByNames;
  return bySplit<Scores>((split) => measure({ model, corpus, ...prepared }, prepared.splits.get(split)?.entries ?? []));
}

async function bySplit<T>(of: (split: StudySplit) => Promise<T>): Promise<Record<StudySplit, T>> {
  const found: Partial<Record<StudySplit, T>> = {};
  for (const split of STUDY_SPLITS) found[split] = await of(split);
  return found as Record<StudySplit, T>;
}
