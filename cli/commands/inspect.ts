import { specOf } from '../../beit3/checkpoint.js';
import { MODELS, type ModelSpec } from '../../beit3/config.js';
import { holdsBeit } from '../../beit3/family.js';
import { createModel } from '../../beit3/heads/index.js';
import { BEIT_MODELS } from '../../beit3/vit/models.js';
import { openCheckpoint } from '../../checkpoints/index.js';
import { InputError, messageOf } from '../../core/errors.js';
import { nearest } from '../../core/nearest.js';
import { Builder, metaBackend } from '../../nn/builder.js';
import { compareStates, type Module } from '../../nn/module.js';
import type { Command, Context } from '../command.js';
import { configFile } from '../files.js';
import { grouped, megabytes, printable, table } from '../format.js';
import { inspectBeit, inspectBeitFile } from '../inspectBeit.js';
import { byDType, countParameters, type Inspection, type TensorShape } from '../inspection.js';

const FAMILY = 'BEiT-3';
const NAMES = [...MODELS.keys(), ...BEIT_MODELS.keys()];

export const command: Command = {
  usage: ['inspect MODEL', 'inspect FILE [--config FILE]'],
  about:
    'Tells what a model consists of: parameters in total, those its task uses, by branch, its tensors and its config. MODEL is an official name such as beit3_base_patch16_224_imageclassification (counted without making it); FILE is a checkpoint, of which only the directory is read.',
  flags: {
    config: {
      value: 'FILE',
      help: 'JSON with sizes that the checkpoint does not tell.',
      default: 'config.json beside it',
    },
    tensors: { help: 'List every tensor (JSON always does).' },
    models: { help: 'List the official names.' },
  },
  examples: ['beit3 inspect beit3_large_patch16_480_vqav2', 'beit3 inspect model.pth --tensors'],
  async run(args, context) {
    if (args.has('models')) {
      args.expect(0, 0, 'no name beside --models');
      if (context.wantsJson) context.json({ models: NAMES });
      else for (const name of NAMES) context.out(name);
      return;
    }
    const [name] = args.expect(1, 1, 'one model name or checkpoint');
    const spec = MODELS.get(name);
    const beit = BEIT_MODELS.get(name);
    if (beit) show(context, { model: name, ...inspectBeit(beit) }, args.has('tensors'));
    else if (spec) show(context, { model: name, ...inspectModel(spec) }, args.has('tensors'));
    else show(context, await inspectFile(name, args.text('config')), args.has('tensors'));
  },
};

function inspectModel(spec: ModelSpec): Inspection {
  const tensors = tensorsOf(spec, true);
  return {
    family: FAMILY,
    task: spec.task,
    numClasses: spec.numClasses,
    config: spec.config,
    parameters: countParameters(tensors, new Set(tensorsOf(spec, false).map(({ name }) => name)), branchOf),
    dtypes: byDType(tensors),
    tensors,
  };
}

async function inspectFile(path: string, configPath: string | undefined): Promise<Inspection> {
  const { existsSync } = await import('node:fs');
  if (!existsSync(path)) {
    const hint = /[./\\]/.test(path)
      ? ''
      : `, and no official model of that name; the nearest is ${nearest(path, NAMES)}`;
    throw new InputError(`There is no file ${path}${hint}.`);
  }
  const config = configPath === undefined ? {} : { config: await configFile(configPath), configName: configPath };
  const checkpoint = await openCheckpoint(path);
  try {
    const tensors = Array.from(checkpoint.tensors.values(), ({ name, dtype, shape }) => ({ name, dtype, shape }));
    const found = { file: path, format: checkpoint.format, dtypes: byDType(tensors), tensors };
    if (holdsBeit(checkpoint)) return { ...found, ...(await inspectBeitFile(checkpoint, path, config)) };
    let spec: ModelSpec;
    try {
      spec = await specOf(checkpoint, path, config);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      const isTokenizer = checkpoint.tensors.has('quantize.embedding.weight');
      const problem = isTokenizer ? `it is a visual tokenizer; see beit3 vqkd inspect ${path}` : messageOf(error);
      return { ...found, family: null, task: null, config: null, parameters: null, problem };
    }
    const wanted = new Map(tensorsOf(spec, false).map((tensor) => [tensor.name, tensor]));
    const used = new Map([...checkpoint.tensors].filter(([name]) => wanted.has(name)));
    const problem = compareStates(wanted, used) ?? undefined;
    return {
      ...found,
      family: FAMILY,
      task: spec.task,
      numClasses: spec.numClasses,
      config: spec.config,
      parameters: countParameters(tensors, new Set(wanted.keys()), branchOf),
      unused: tensors.map(({ name }) => name).filter((name) => !wanted.has(name)),
      problem: problem && `it does not fit a ${spec.task} model: ${problem}`,
    };
  } finally {
    await checkpoint.close();
  }
}

/** The tensors of a model, from one that is built without memory; `all` counts those too that the task does not use. */
function tensorsOf(spec: ModelSpec, all: boolean): TensorShape[] {
  const model: Module = createModel(new Builder({ backend: metaBackend(), initialize: false }), spec, { all });
  return Array.from(model.namedTensors(), ([name, { dtype, shape }]) => ({ name, dtype, shape }));
}

function branchOf(name: string): string {
  if (!name.startsWith('beit3.')) return 'head';
  if (name.includes('.A.') || name.startsWith('beit3.vision_embed.')) return 'vision';
  return name.includes('.B.') || name.startsWith('beit3.text_embed.') ? 'language' : 'shared';
}

/** Names of unused tensors that are printed. */
const SHOWN = 8;

function show(context: Context, found: Inspection, listTensors: boolean): void {
  if (context.wantsJson) {
    context.json(found);
    return;
  }
  const rows: [string, string][] = [];
  if (found.model) rows.push(['model', found.model]);
  if (found.file) rows.push(['file', printable(found.file)]);
  if (found.format) rows.push(['format', found.format]);
  if (found.family) rows.push(['family', found.family]);
  if (found.task)
    rows.push(['task', found.numClasses ? `${found.task} (${grouped(found.numClasses)} classes)` : found.task]);
  if (found.parameters) {
    const { total, used, branches } = found.parameters;
    rows.push(
      ['parameters', grouped(total)],
      ['used by the task', `${grouped(used)} (${megabytes(used * 4)} as float32)`],
    );
    for (const [branch, count] of Object.entries(branches)) if (count > 0) rows.push([`  ${branch}`, grouped(count)]);
  }
  for (const [dtype, { tensors, values }] of Object.entries(found.dtypes))
    rows.push([dtype, `${grouped(values)} values in ${grouped(tensors)} tensors`]);
  if (found.unused && found.unused.length > 0) {
    const names = found.unused.slice(0, SHOWN).map(printable).join(', ');
    const rest = found.unused.length - SHOWN;
    rows.push(['unused', rest > 0 ? `${names} and ${grouped(rest)} more` : names]);
  }
  if (found.problem) rows.push(['problem', printable(found.problem)]);
  context.out(table(rows));
  if (found.config) context.out(table(Object.entries(found.config).map(([key, value]) => [`  ${key}`, String(value)])));
  if (listTensors)
    context.out(
      table(found.tensors.map(({ name, dtype, shape }) => [printable(name), dtype, `[${shape.join(', ')}]`])),
    );
}
