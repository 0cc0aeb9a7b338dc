/** What `beit3 evaluate` needs before it can begin: everything is looked at before a large model is loaded. */
import { loadModel, specOf } from '../beit3/checkpoint.js';
import { classifierSpecOf, loadClassifier, type PictureSizes } from '../beit3/classifier.js';
import type { Beit3Config, Task } from '../beit3/config.js';
import type { TaskSamples } from '../beit3/data/dataSet.js';
import { type DataSet, type IndexedDataSet, openDataSet } from '../beit3/data/loader/index.js';
import { type IndexSplit, type IndexTask, TASK_OF } from '../beit3/data/rows.js';
import {
  captionReferences,
  defaultBatchSize,
  type EvaluateDataOptions,
  evaluatedSamples,
} from '../beit3/evaluate/dataSet.js';
import { readAnsweredQuestions } from '../beit3/evaluate/references.js';
import { holdsBeit } from '../beit3/family.js';
import type { TaskModels } from '../beit3/heads/index.js';
import type { Preprocessing } from '../beit3/images/index.js';
import { loadOptions, openBackend } from '../beit3/pipeline/session.js';
import { loadTokenizer, longestText } from '../beit3/pipeline/texts.js';
import type { Tokenizer } from '../beit3/tokenizer/index.js';
import { shippedModel } from '../beit3/zoo/shipped.js';
import { openCheckpoint } from '../checkpoints/index.js';
import { publishedResults } from '../checkpoints/published.js';
import { InputError } from '../core/errors.js';
import { nearest } from '../core/nearest.js';
import type { Module } from '../nn/module.js';
import type { Args } from './args.js';
import type { Context } from './command.js';
import { checkpointFile, requireFiles } from './files.js';
import { grouped } from './format.js';

export const EVALUATION_TASKS = Object.keys(TASK_OF) as IndexTask[];

const SPLITS: readonly IndexSplit[] = ['val', 'test', 'test-dev'];
const DEFAULT_TOKENS = 64;

/** The published results that are compared. */
interface Target {
  readonly name: string;
  readonly metrics: Readonly<Record<string, number>>;
}

/** All that an evaluation needs. */
export interface EvaluationJob {
  readonly name: IndexTask;
  readonly task: Task;
  readonly split: IndexSplit;
  readonly checkpoint: string;
  readonly model: TaskModels[Task] & Module;
  readonly config: PictureSizes;
  readonly samples: DataSet;
  /** Samples that will have been evaluated in the end. */
  readonly total: number;
  readonly options: EvaluateDataOptions;
  readonly submission: string | undefined;
  readonly published: Target | null;
  readonly tolerance: number;
  readonly notes: readonly string[];
}

/** Reads flags, data, references and model, in this order of cost. Throws InputError, one sentence, for what does not fit. */
export async function prepareEvaluation(args: Args, context: Context): Promise<EvaluationJob> {
  const name = taskOf(args);
  const task = TASK_OF[name];
  const split = splitOf(args);
  refuseStray(args, name, split);
  const data = args.required('data', 'the folder of the images and of the index files');
  const checkpoint = await checkpointOf(args, context);
  await requireFiles([checkpoint, ...[args.text('annotations') ?? []].flat()]);
  const published = targetOf(args, checkpoint, name, split);
  const submission = args.text('submission');
  if (submission !== undefined) await requireFolderOf(submission);

  const backend = await openBackend({
    checkpoint,
    device: context.device,
    adapter: context.adapter,
    threads: context.threads,
  });
  const loading = {
    ...(await loadOptions(
      { checkpoint, config: args.text('config'), imageSize: args.whole('image-size', 1, 8192) },
      backend,
    )),
    task,
  };
  const spec = await openSpec(checkpoint, loading);
  const tokenizer = spec.words ? await tokenizerFor(task, args, checkpoint, spec.words) : undefined;
  const folders = [...new Set([args.text('index') ?? data, data])];
  const maxTokens = spec.words ? maxTokensOf(args, spec.words) : DEFAULT_TOKENS;
  const indexed = await openIndex(
    name,
    split,
    { data, index: args.text('index'), tokenizer, maxTokens },
    spec,
    context,
  );
  const samples = evaluatedSamples<Task>(indexed, args.whole('limit', 1, Number.MAX_SAFE_INTEGER));
  const notes = samplesNotes(args, indexed, samples);
  const batchSize = args.whole('batch-size', 1, 1 << 16) ?? defaultBatchSize(spec.sizes);
  const isReference = args.has('reference-compatible');
  const total = isReference ? Math.floor(samples.size / batchSize) * batchSize : samples.size;
  if (isReference) {
    notes.push(
      `Loaded as the reference's validation loads: random crops${args.has('randaug') ? ' and RandAugment' : ''}, random order, ${samples.size - total} samples dropped with the last batch.`,
    );
  }
  const options: EvaluateDataOptions = {
    batchSize,
    workers: args.whole('workers', 0, 256),
    skipBroken: args.has('skip-broken'),
    cropRatio: args.number('crop-pct', 0.01, 1) ?? spec.preprocessing?.cropRatio,
    statistics: spec.preprocessing?.statistics,
    asTraining: isReference
      ? { seed: args.whole('seed', 0, Number.MAX_SAFE_INTEGER) ?? 0, randAugment: args.has('randaug') }
      : undefined,
    numBeams: args.whole('num-beams', 1, 64),
    lengthPenalty: args.number('length-penalty', -100, 100),
    maxLength: maxTokens,
    tokenizer,
    answers: name === 'vqav2' ? indexed.labels : undefined,
    ...(await comparedWith(args, context, indexed, samples, folders, tokenizer, notes)),
  };
  if (submission === undefined) requireSomethingToCompare(name, split, samples, options);
  return {
    name,
    task,
    split,
    checkpoint,
    model: await openModel(checkpoint, loading, context),
    config: spec.sizes,
    samples,
    total,
    options,
    submission,
    published,
    tolerance: args.number('tolerance', 0, 100) ?? 0.1,
    notes,
  };
}

function taskOf(args: Args): IndexTask {
  const [given] = args.words;
  const task = EVALUATION_TASKS.find((known) => known === given);
  if (task) return task;
  throw new InputError(
    `There is no task ${JSON.stringify(given)} to evaluate; the nearest is ${nearest(given, EVALUATION_TASKS)} (of ${EVALUATION_TASKS.join(', ')}).`,
  );
}

async function checkpointOf(args: Args, context: Context): Promise<string> {
  const given = args.text('checkpoint');
  if (given !== undefined) return checkpointFile(given);
  context.note('No --checkpoint: the small model in the package is measured, which knows emoji and nothing else.');
  return (await shippedModel()).checkpoint;
}

function splitOf(args: Args): IndexSplit {
  const given = args.text('split') ?? 'test';
  const split = SPLITS.find((known) => known === given);
  if (split) return split;
  throw new InputError(`There is no split ${JSON.stringify(given)} to evaluate on; expected ${SPLITS.join(', ')}.`);
}

/** Flags that would change nothing are refused: who gave them expects something of them. */
function refuseStray(args: Args, name: IndexTask, split: IndexSplit): void {
  const task = TASK_OF[name];
  const refuse = (flags: readonly string[], unless: boolean, why: string): void => {
    const stray = flags.find((flag) => args.has(flag));
    if (stray !== undefined && !unless) throw new InputError(`--${stray} has no meaning ${why}; leave it out.`);
  };
  const writes = task === 'captioning' || task === 'vqav2';
  refuse(['annotations', 'submission'], writes, `for ${name}`);
  refuse(['num-beams', 'length-penalty'], task === 'captioning', `for ${name}, which writes no captions`);
  refuse(['num-max-bpe-tokens', 'tokenizer'], task !== 'imageclassification', `for ${name}, which has no texts`);
  refuse(['crop-pct'], task === 'imageclassification', `for ${name}`);
  refuse(['tolerance'], args.has('expect'), 'without --expect');
  refuse(['seed', 'randaug'], args.has('reference-compatible'), 'without --reference-compatible');
  refuse(['randaug'], task !== 'imageclassification', `for ${name}`);
  refuse(['reference-compatible'], split === 'val', `for the ${split} split, which the reference loads as it is`);
  refuse(['expect'], !args.has('limit'), 'with --limit: results of a part say nothing');
}

function targetOf(args: Args, checkpoint: string, task: IndexTask, split: IndexSplit): Target | null {
  if (!args.has('expect')) return null;
  const name = args.text('expect') || checkpoint;
  const published = publishedResults(name);
  const known = name.split(/[/\\]/).at(-1) ?? name;
  if (published.task !== task)
    throw new InputError(`What was published of ${known} is for ${published.task}, not for ${task}.`);
  const metrics = Object.hasOwn(published.splits, split) ? published.splits[split] : undefined;
  if (!metrics) {
    const splits = Object.keys(published.splits).join(' and ');
    throw new InputError(`What was published of ${known} is for the split ${splits}; give --split ${splits}.`);
  }
  if (task === 'vqav2') {
    throw new InputError(
      `What was published of ${known} was counted by the evaluation server; write the answers with --submission FILE and send them there.`,
    );
  }
  return { name: known.replace(/\.(pth|pt|safetensors)$/, ''), metrics };
}

/** A run may take hours: a folder that is not there is told before. */
async function requireFolderOf(path: string): Promise<void> {
  const { stat } = await import('node:fs/promises');
  const { dirname } = await import('node:path');
  const folder = await stat(dirname(path)).catch(() => null);
  if (!folder?.isDirectory()) throw new InputError(`There is no folder ${dirname(path)} to write ${path} into.`);
  const there = await stat(path).catch(() => null);
  if (there?.isDirectory()) throw new InputError(`${path} is a folder; name a file for --submission.`);
}

type Loading = Awaited<ReturnType<typeof loadOptions>> & { readonly task: Task };

/** What is to be known of the model before it is loaded. */
interface EvaluatedSpec {
  readonly numClasses: number;
  readonly sizes: PictureSizes;
  /** Of a classifier; other tasks have one way to look at pictures. */
  readonly preprocessing: Preprocessing | null;
  /** Sizes of the model that reads texts; null for one that classifies pictures. */
  readonly words: Beit3Config | null;
}

async function openSpec(checkpoint: string, loading: Loading): Promise<EvaluatedSpec> {
  const file = await openCheckpoint(checkpoint);
  try {
    if (loading.task === 'imageclassification') {
      const { classes, sizes, preprocessing } = await classifierSpecOf(file, checkpoint, loading);
      return { numClasses: classes, sizes, preprocessing, words: null };
    }
    if (holdsBeit(file))
      throw new InputError(`${checkpoint} holds a BEiT, which classifies pictures; evaluate it on imagenet.`);
    const { config, numClasses } = await specOf(file, checkpoint, loading);
    return { numClasses, sizes: config, preprocessing: null, words: config };
  } finally {
    await file.close();
  }
}

async function openModel(checkpoint: string, loading: Loading, context: Context): Promise<TaskModels[Task] & Module> {
  const line = context.progress('loading');
  const options = { ...loading, onProgress: (done: number, total: number) => line.update(done, total) };
  const { model } = await (loading.task === 'imageclassification'
    ? loadClassifier(checkpoint, options)
    : loadModel(checkpoint, options));
  line.end();
  return model as TaskModels[Task] & Module;
}

/** Index files hold token ids, so that only captions, and texts of another kind of index, need a tokenizer. */
async function tokenizerFor(
  task: Task,
  args: Args,
  checkpoint: string,
  config: Beit3Config,
): Promise<Tokenizer | undefined> {
  try {
    return await loadTokenizer({ checkpoint, tokenizer: args.text('tokenizer') }, config);
  } catch (error) {
    if (args.has('tokenizer') || task === 'captioning' || !(error instanceof InputError)) throw error;
    return undefined;
  }
}

function maxTokensOf(args: Args, config: Beit3Config): number {
  const most = longestText(config);
  return args.whole('num-max-bpe-tokens', 3, most) ?? Math.min(DEFAULT_TOKENS, most);
}

async function openIndex(
  name: IndexTask,
  split: IndexSplit,
  options: { data: string; index: string | undefined; tokenizer: Tokenizer | undefined; maxTokens: number },
  { numClasses, words }: EvaluatedSpec,
  context: Context,
): Promise<IndexedDataSet> {
  const line = context.progress('reading the index');
  const data = await openDataSet(name, split, {
    ...options,
    vocabularySize: words?.vocab_size,
    classes: name === 'imagenet' ? numClasses : undefined,
    onProgress: (_, done, total) => line.update(done, total),
  });
  line.end();
  const kind = name === 'vqav2' ? 'answers' : 'classes';
  const known = data.labels.length;
  if (numClasses > 0 && name !== 'nlvr2' && known > 0 && known !== numClasses) {
    throw new InputError(
      `The data in ${options.index ?? options.data} have ${grouped(known)} ${kind}, but the model tells ${grouped(numClasses)} apart; give the checkpoint that was trained on them, or its data.`,
    );
  }
  return data;
}

function samplesNotes(args: Args, data: IndexedDataSet, samples: DataSet): string[] {
  const notes: string[] = [];
  if (args.has('limit') && samples.size < data.size)
    notes.push(`Only the first ${grouped(samples.size)} of ${grouped(evaluatedSamples(data).size)} samples.`);
  if (data.cutTexts > 0) notes.push(`${grouped(data.cutTexts)} texts are longer than the model takes and were cut.`);
  return notes;
}

/** The captions or answers of people with which those of the model are compared. */
async function comparedWith(
  args: Args,
  context: Context,
  data: IndexedDataSet,
  samples: DataSet,
  folders: readonly string[],
  tokenizer: Tokenizer | undefined,
  notes: string[],
): Promise<Pick<EvaluateDataOptions, 'references' | 'annotations'>> {
  const annotations = args.text('annotations');
  const line = context.progress('reading annotations');
  try {
    if (data.task === 'captioning' && tokenizer) {
      const onProgress = (_: string, done: number, total: number): void => line.update(done, total);
      const found = await captionReferences(data, samples, { folders, annotations, tokenizer, onProgress });
      if (found) notes.push(`Compared with the captions in ${found.source}.`);
      return { references: found?.references };
    }
    if (data.task !== 'vqav2' || annotations === undefined) return {};
    const asked = new Set(
      Array.from({ length: samples.size }, (_, row) => (samples.sample(row) as TaskSamples['vqav2']).questionId),
    );
    const { questions, total } = await readAnsweredQuestions(annotations, asked, (done, bytes) =>
      line.update(done, bytes),
    );
    if (questions.length < total) {
      notes.push(
        `${grouped(questions.length)} of the ${grouped(total)} questions in the annotations are in the index and were asked; it has none without a known answer.`,
      );
    }
    return { annotations: questions };
  } finally {
    line.end();
  }
}

function requireSomethingToCompare(
  name: IndexTask,
  split: IndexSplit,
  samples: DataSet,
  { references, annotations }: EvaluateDataOptions,
): void {
  const row = samples.sample(0);
  const isBlind =
    samples.task === 'captioning'
      ? !references
      : samples.task === 'vqav2' && !annotations && (row as TaskSamples['vqav2']).answers === null;
  if (!isBlind) return;
  const what = samples.task === 'captioning' ? 'captions' : 'answers';
  throw new InputError(
    `There are no ${what} of people for the ${split} split of ${name}; give those of the model to the evaluation server with --submission FILE, or compare them with --annotations FILE.`,
  );
}
