/** Models of BEiT and BEiT v2 from checkpoint files, and back. */
import {
  type Checkpoint,
  computedEntry,
  openCheckpoint,
  readFloat32,
  renamedEntry,
  resizePositions,
  type SourceLike,
  type TensorEntry,
  type WritableTensor,
} from '../../checkpoints/index.js';
import { InputError } from '../../core/errors.js';
import type { Builder } from '../../nn/builder.js';
import { configOf, type LoadOptions, makeFilled } from '../checkpoint.js';
import { gridOf, parseViTConfig, type ViTConfig } from './config.js';
import { distanceCount, relativeIndex } from './relativePositions.js';
import { gridOfTable, resizeDistances } from './resizeTables.js';
import { type BeitSpec, inferBeit } from './spec.js';
import { VisionTransformer } from './visionTransformer.js';

const SHARED_TABLE = 'rel_pos_bias.relative_position_bias_table';
/** Tables of numbers that follow from the grid; official files hold them beside the weights. */
const INDEX = 'relative_position_index';

/** The spec of an open checkpoint, with the config that was given, lies beside it or is written inside. */
export async function beitSpecOf(
  checkpoint: Checkpoint,
  source: SourceLike,
  options: Pick<LoadOptions, 'config' | 'configName' | 'imageSize'> = {},
): Promise<BeitSpec> {
  const name = typeof source === 'string' ? source : 'The checkpoint';
  const { config, configName } = await configOf(checkpoint, source, options);
  const spec = inferBeit(checkpoint.tensors, name, { config, configName, extra: checkpoint.extra });
  if (options.imageSize === undefined) return spec;
  return { ...spec, config: parseViTConfig({ img_size: options.imageSize }, 'The image size', spec.config) };
}

/** The entries of a checkpoint as a model of a config takes them, and what was done to them, in sentences. */
export interface FittedEntries {
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly notes: readonly string[];
}

/**
 * What the code for fine-tuning does to a checkpoint: a table of relative positions that all layers shared goes to each of
 * them where the model has one in each, and tables and positions of another resolution are resized. Layers behind the model's
 * last one are left out.
 */
export function fittedEntries(given: ReadonlyMap<string, TensorEntry>, config: ViTConfig): FittedEntries {
  const grid = gridOf(config);
  const notes = new Set<string>();
  const entries = new Map<string, TensorEntry>();
  for (const [name, entry] of given) {
    if (name.endsWith(INDEX)) continue;
    if (Number(/^blocks\.(\d+)\./.exec(name)?.[1] ?? 0) >= config.depth) {
      notes.add(`Layers behind layer ${config.depth} are left out.`);
      continue;
    }
    if (name === SHARED_TABLE && config.use_rel_pos_bias && !config.use_shared_rel_pos_bias) {
      notes.add(`The table of relative positions that all layers shared goes to each of the ${config.depth}.`);
      for (let i = 0; i < config.depth; i++) {
        const own = `blocks.${i}.attn.relative_position_bias_table`;
        entries.set(own, resizedTable(entry, own, grid, notes));
      }
    } else if (name.endsWith('relative_position_bias_table')) entries.set(name, resizedTable(entry, name, grid, notes));
    else entries.set(name, name === 'pos_embed' ? resizedPositions(entry, grid, notes) : entry);
  }
  return { entries, notes: [...notes] };
}

function resizedTable(entry: TensorEntry, name: string, grid: number, notes: Set<string>): TensorEntry {
  const [rows, heads] = entry.shape;
  const from = entry.shape.length === 2 ? gridOfTable(rows) : null;
  if (from === null || from === grid) return renamedEntry(entry, name);
  notes.add(`Relative positions resized from ${from} x ${from} to ${grid} x ${grid} patches.`);
  return computedEntry(name, [distanceCount(grid), heads], async () =>
    resizeDistances(await readFloat32(entry), from, grid),
  );
}

function resizedPositions(entry: TensorEntry, grid: number, notes: Set<string>): TensorEntry {
  const [one, rows, D] = entry.shape;
  const [wanted, side] = [grid * grid + 1, Math.sqrt(rows - 1)];
  if (entry.shape.length !== 3 || one !== 1 || rows === wanted || !Number.isInteger(side)) return entry;
  notes.add(`Position table resized from ${rows} to ${wanted} rows.`);
  return computedEntry('pos_embed', [1, wanted, D], async () =>
    resizePositions(await readFloat32(entry), rows, D, wanted, 1),
  );
}

export interface LoadedBeit {
  readonly model: VisionTransformer;
  readonly spec: BeitSpec;
}

/**
 * Loads a classifier, an official one or one that was trained here, in evaluation mode. `trunk` loads any checkpoint, without
 * its head. Throws InputError for another file, and for one without a classifier.
 */
export async function loadBeit(
  source: SourceLike,
  options: LoadOptions & { readonly trunk?: boolean } = {},
): Promise<LoadedBeit> {
  const checkpoint = await openCheckpoint(source);
  try {
    const name = typeof source === 'string' ? source : 'The checkpoint';
    const spec = await beitSpecOf(checkpoint, source, options);
    const { config, pooling } = spec;
    const classes = options.trunk ? 0 : expectClasses(spec, name);
    const { entries } = fittedEntries(checkpoint.tensors, config);
    const make = (b: Builder) => new VisionTransformer(b, config, { classes, pooling });
    const { model } = await makeFilled(make, entries, name, options);
    model.eval();
    return { model, spec };
  } finally {
    await checkpoint.close();
  }
}

/** The classes of a model. Throws InputError for one that has none. */
export function expectClasses({ classes, pretraining }: BeitSpec, name: string): number {
  if (classes > 0) return classes;
  const why = pretraining ? 'it was pretrained and tells no classes apart yet' : 'it has no head.weight';
  throw new InputError(`${name} is no classifier: ${why}; fine-tune it first (beit3 finetune imagenet).`);
}

/** The tables of numbers that the official models hold beside their weights, and load strictly. */
export function indexTables(config: ViTConfig, aggregationLayers = 0): WritableTensor[] {
  const side = gridOf(config) ** 2 + 1;
  const data = () => BigInt64Array.from(relativeIndex(gridOf(config)), BigInt);
  const table = (module: string): WritableTensor => ({
    name: `${module}.${INDEX}`,
    dtype: 'int64',
    shape: [side, side],
    data,
  });
  const own = (list: string, count: number) => Array.from({ length: count }, (_, i) => table(`${list}.${i}.attn`));
  return [
    ...(config.use_shared_rel_pos_bias ? [table('rel_pos_bias')] : []),
    ...(config.use_rel_pos_bias ? [...own('blocks', config.depth), ...own('cls_pt_layers', aggregationLayers)] : []),
  ];
}
