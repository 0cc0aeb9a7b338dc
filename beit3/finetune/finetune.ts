/** Fine-tuning: everything is opened and checked, then trained. Node only. */
import { openCheckpoint } from '../../checkpoints/index.js';
import { diskError, ensureFolder } from '../../checkpoints/sink.js';
import { defaultBackend, setDefaultBackend } from '../../core/device.js';
import { InputError } from '../../core/errors.js';
import { manualSeed } from '../../core/random.js';
import { computesHalf } from '../../nn/amp.js';
import { Builder } from '../../nn/builder.js';
import type { Beit3Config, Task } from '../config.js';
import { TASK_OF } from '../data/rows.js';
import { loadTokenizer, longestText, tokenizerBeside } from '../pipeline/texts.js';
import { Tokenizer } from '../tokenizer/index.js';
import { restoreCheckpoint, sweep } from '../training/checkpoints.js';
import { copyInto } from '../training/export.js';
import type { Source } from '../training/start.js';
import { beit3Subject } from './beit3Subject.js';
import { beitSubject, beitTrainingSpec, meansBeit } from './beitSubject.js';
import { openRunData } from './data.js';
import { Journal } from './journal.js';
import { type FinetuneOptions, type Resolved, resolveOptions } from './options.js';
import { type FinetuneResult, Run } from './run.js';
import { modelConfig } from './start.js';
import { expectSameRun, type Fingerprint, newestTraining, readTraining } from './state.js';
import type { Subject, TrainedModel } from './subject.js';
import { Trainer } from './trainer.js';

/**
 * Fine-tunes a model on a task and leaves in `output`: training checkpoints, `log.jsonl`, TensorBoard files, and the
 * weights of the last step and of the best epoch as `model.safetensors` and `model-best.safetensors`. A run that was
 * ended, in whatever way, goes on when it is started again with the same options, to the same numbers.
 *
 * Throws InputError for options, files and data that are wrong and for a full disk, and Error when training goes astray.
 */
export async function finetune(options: FinetuneOptions): Promise<FinetuneResult> {
  const resolved = resolveOptions(options);
  const backend = options.backend ?? defaultBackend();
  if (resolved.settings.amp && !computesHalf(backend)) {
    throw new InputError(`The device ${backend.name} does not compute in float16; leave --amp out.`);
  }
  await prepareFolder(options.output);
  const before = setDefaultBackend(backend);
  let source: Source | null = null;
  try {
    if (options.checkpoint !== undefined)
      source = { path: options.checkpoint, checkpoint: await openCheckpoint(options.checkpoint) };
    return await prepared(options, resolved, source);
  } finally {
    setDefaultBackend(before);
    await source?.checkpoint.close();
  }
}

async function prepareFolder(folder: string): Promise<void> {
  await ensureFolder(folder).catch((error: unknown) => diskError(folder, error));
  await sweep(folder);
}

async function prepared(options: FinetuneOptions, resolved: Resolved, source: Source | null): Promise<FinetuneResult> {
  const { join } = await import('node:path');
  const { output, data: folder, onEvent = () => {} } = options;
  const note = (text: string): void => onEvent({ type: 'note', text });
  const task = TASK_OF[options.task];
  const family = await familyOf(options, resolved, task, source);
  const { tokenizer, longest } = family;
  if (options.numMaxBpeTokens !== undefined && longest < options.numMaxBpeTokens)
    throw new InputError(`This model takes ${longest} tokens of a text at most; give --num-max-bpe-tokens ${longest}.`);
  const settings = { ...resolved.settings, numMaxBpeTokens: Math.min(resolved.settings.numMaxBpeTokens, longest) };
  if (settings.linearProbe && task !== 'imageclassification')
    throw new InputError('--linear-probe trains a classifier of pictures; its task is imagenet.');
  if (settings.probeLayer !== null && !settings.linearProbe)
    throw new InputError('--probe-layer says what --linear-probe classifies; give --linear-probe too.');
  if (settings.probeLayer !== null && settings.pooling !== null)
    throw new InputError('--probe-layer classifies [CLS] and the mean patch together; leave --pooling out.');
  const inputs = {
    data: folder,
    tokenizer: tokenizer ?? undefined,
    vocabularySize: family.vocabularySize,
    maxTokens: settings.numMaxBpeTokens,
  };
  const data = await openRunData(options.task, inputs, settings, {
    validates: options.validate !== false,
    note,
  });
  const subject = family.subject(data.train.classes);
  const fingerprint: Fingerprint = {
    task: options.task,
    settings,
    model: subject.description,
    samples: data.train.size,
  };
  const saved = await savedRun(options, note);
  if (saved) expectSameRun(saved.record, fingerprint, saved.path);

  if (resolved.recipe?.note !== undefined) note(resolved.recipe.note);
  manualSeed(settings.seed + settings.rank);
  const model = saved
    ? subject.make(new Builder({ initialize: false }))
    : await freshModel(subject, source, options, resolved, note);
  const trainer = new Trainer(subject, model, settings);
  try {
    if (saved) await restoreCheckpoint(saved.path, saved.record, trainer);
    if (saved?.record.scaler) trainer.scaler?.restore(saved.record.scaler);
    const position = saved?.record.position ?? { step: 0, epoch: 0, stepInEpoch: 0 };
    if (saved) note(`Resumed from ${saved.path}, after step ${position.step}.`);
    if (family.tokenizerPath !== null) await copyInto(family.tokenizerPath, output);
    const board = options.logDir === null ? null : (options.logDir ?? join(output, 'tensorboard'));
    const journal = await Journal.open(join(output, 'log.jsonl'), board, position);
    const unused = subject.unused(source?.checkpoint.tensors ?? new Map(), settings.seed);
    const run = new Run({ options, settings, subject, data, fingerprint, trainer, journal, unused, tokenizer }, saved);
    return await run.run();
  } finally {
    trainer.dispose();
    model.dispose();
  }
}

/** What is known of a model before its data are opened. */
interface Family {
  readonly tokenizer: Tokenizer | null;
  readonly tokenizerPath: string | null;
  /** Rows of the word table. */
  readonly vocabularySize?: number;
  /** Tokens of a text at most. */
  readonly longest: number;
  /** The subject, once the classes of the data are known. */
  readonly subject: (classes: number) => Subject;
}

/** The family of the model and its sizes. Sizes and tokenizer may each tell of the other. */
async function familyOf(
  options: FinetuneOptions,
  { settings, model, initialisation }: Resolved,
  task: Task,
  source: Source | null,
): Promise<Family> {
  const { config, configName } = options;
  const sizes = { task, source, model, config, configName };
  if (meansBeit(sizes)) {
    const spec = await beitTrainingSpec(sizes, settings);
    const subject = (classes: number): Subject => beitSubject({ ...spec, classes });
    return { tokenizer: null, tokenizerPath: null, longest: Number.POSITIVE_INFINITY, subject };
  }
  const needsText = task !== 'imageclassification';
  const path = needsText ? await tokenizerPath(options, task) : null;
  const loaded = path === null ? null : await Tokenizer.load(path);
  if (settings.pooling === 'cls')
    throw new InputError('A BEiT-3 classifies the mean of its patches; leave --pooling out.');
  if (settings.probeLayer !== null)
    throw new InputError('A BEiT-3 is probed behind its last layer; leave --probe-layer out.');
  const found: Beit3Config = await modelConfig({
    ...sizes,
    vocabularySize: loaded?.vocabularySize,
    settings: settings.linearProbe ? { ...settings, dropPath: 0 } : settings,
  });
  return {
    tokenizer: loaded && (await loadTokenizer({ checkpoint: path as string, tokenizer: loaded }, found)),
    tokenizerPath: path,
    vocabularySize: found.vocab_size,
    longest: longestText(found),
    subject: (numClasses) => beit3Subject({ task, config: found, numClasses }, initialisation),
  };
}

/** The .spm file that was given or lies beside the checkpoint; an index of token ids can be trained on without. */
async function tokenizerPath({ tokenizer, checkpoint }: FinetuneOptions, task: Task): Promise<string | null> {
  if (tokenizer !== undefined) return tokenizer;
  if (checkpoint === undefined) {
    if (task !== 'captioning') return null;
    throw new InputError('Captioning masks words and needs a tokenizer; give the .spm file with --tokenizer.');
  }
  return tokenizerBeside(checkpoint).catch((error: unknown) => {
    if (task === 'captioning') throw error;
    return null;
  });
}

/** The checkpoint to go on from, if any. */
async function savedRun({ output, resume = 'auto' }: FinetuneOptions, note: (text: string) => void) {
  if (resume === 'none') return null;
  if (resume === 'auto') return newestTraining(output, note);
  return { path: resume, record: await readTraining(resume) };
}

async function freshModel(
  subject: Subject,
  source: Source | null,
  options: FinetuneOptions,
  { settings, initialisation }: Resolved,
  note: (text: string) => void,
): Promise<TrainedModel<Task>> {
  const { model, notes } = await subject.start(source, {
    backend: defaultBackend(),
    seed: settings.seed,
    onProgress: options.onLoading,
  });
  if (source === null) note(`Beginning with fresh weights (${initialisation}): no checkpoint was given.`);
  for (const text of notes) note(text);
  return model;
}
