/** Fine-tuning: everything is opened and checked, then trained. Node only. */
import { openCheckpoint } from '../../checkpoints/index.js';
import { diskError, ensureFolder } from '../../checkpoints/sink.js';
import { defaultBackend, setDefaultBackend } from '../../core/device.js';
import { InputError } from '../../core/errors.js';
import { manualSeed } from '../../core/random.js';
import { computesHalf } from '../../nn/amp.js';
import { Builder } from '../../nn/builder.js';
import { describeSpec } from '../checkpoint.js';
import type { Beit3Config, ModelSpec, Task } from '../config.js';
import { TASK_OF } from '../data/rows.js';
import { type AnyTaskModel, createModel } from '../heads/index.js';
import { loadTokenizer, longestText, tokenizerBeside } from '../pipeline/texts.js';
import { Tokenizer } from '../tokenizer/index.js';
import { restoreCheckpoint, sweep } from '../training/checkpoints.js';
import { copyInto } from '../training/export.js';
import { openRunData } from './data.js';
import { unusedWeights } from './export.js';
import { Journal } from './journal.js';
import { type FinetuneOptions, type Resolved, resolveOptions } from './options.js';
import { type FinetuneResult, Run } from './run.js';
import { modelConfig, type Source, startModel, startNotes } from './start.js';
import { expectSameRun, type Fingerprint, newestTraining, readTraining } from './state.js';
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
  const text = await textOf(options, resolved, task, source);
  const { config, tokenizer } = text;
  const longest = Math.min(resolved.settings.numMaxBpeTokens, longestText(config));
  if (options.numMaxBpeTokens !== undefined && longest < options.numMaxBpeTokens)
    throw new InputError(`This model takes ${longest} tokens of a text at most; give --num-max-bpe-tokens ${longest}.`);
  const settings = { ...resolved.settings, numMaxBpeTokens: longest };
  const { vocab_size: vocabularySize } = config;
  const inputs = { data: folder, tokenizer: tokenizer ?? undefined, vocabularySize, maxTokens: longest };
  const data = await openRunData(options.task, inputs, settings, {
    validates: options.validate !== false,
    note,
  });
  const spec: ModelSpec & { task: Task } = { task, config, numClasses: data.train.classes };
  const fingerprint: Fingerprint = {
    task: options.task,
    settings,
    model: describeSpec(spec),
    samples: data.train.size,
  };
  const saved = await savedRun(options, note);
  if (saved) expectSameRun(saved.record, fingerprint, saved.path);

  if (resolved.recipe?.note !== undefined) note(resolved.recipe.note);
  manualSeed(settings.seed + settings.rank);
  const model = saved ? emptyModel(spec) : await freshModel(spec, source, options, resolved, note);
  const trainer = new Trainer(spec, model, settings);
  try {
    if (saved) await restoreCheckpoint(saved.path, saved.record, trainer);
    if (saved?.record.scaler) trainer.scaler?.restore(saved.record.scaler);
    const position = saved?.record.position ?? { step: 0, epoch: 0, stepInEpoch: 0 };
    if (saved) note(`Resumed from ${saved.path}, after step ${position.step}.`);
    if (text.path !== null) await copyInto(text.path, output);
    const board = options.logDir === null ? null : (options.logDir ?? join(output, 'tensorboard'));
    const journal = await Journal.open(join(output, 'log.jsonl'), board, position);
    const unused = unusedWeights(spec, source?.checkpoint.tensors ?? new Map(), resolved.initialisation, settings.seed);
    const run = new Run({ options, settings, spec, data, fingerprint, trainer, journal, unused, tokenizer }, saved);
    return await run.run();
  } finally {
    trainer.dispose();
    model.dispose();
  }
}

/** Sizes and tokenizer, each of which may tell of the other. */
async function textOf(options: FinetuneOptions, { settings, model }: Resolved, task: Task, source: Source | null) {
  const needsText = task !== 'imageclassification';
  const path = needsText ? await tokenizerPath(options, task) : null;
  const loaded = path === null ? null : await Tokenizer.load(path);
  const { config, configName } = options;
  const vocabularySize = loaded?.vocabularySize;
  const sizes: Beit3Config = await modelConfig({ task, source, model, config, configName, vocabularySize, settings });
  if (loaded === null) return { config: sizes, tokenizer: null, path };
  return {
    config: sizes,
    tokenizer: await loadTokenizer({ checkpoint: path as string, tokenizer: loaded }, sizes),
    path,
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

function emptyModel(spec: ModelSpec & { task: Task }): AnyTaskModel {
  return createModel(new Builder({ initialize: false }), spec) as AnyTaskModel;
}

async function freshModel(
  spec: ModelSpec & { task: Task },
  source: Source | null,
  options: FinetuneOptions,
  { settings, initialisation }: Resolved,
  note: (text: string) => void,
): Promise<AnyTaskModel> {
  const start = await startModel(spec, source, {
    backend: defaultBackend(),
    initialisation,
    seed: settings.seed,
    onProgress: options.onLoading,
  });
  if (source === null) note(`Beginning with fresh weights (${initialisation}): no checkpoint was given.`);
  else for (const text of startNotes(start, source.path)) note(text);
  return start.model as AnyTaskModel;
}
