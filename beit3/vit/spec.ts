/** What a checkpoint of BEiT or BEiT v2 is, told from the names and shapes of its tensors. */
import { InertObject, type Plain } from '../../checkpoints/index.js';
import { InputError } from '../../core/errors.js';
import { holdsBeit } from '../family.js';
import type { ImagePipeline, Preprocessing } from '../images/index.js';
import type { Shapes } from '../infer.js';
import { parseViTConfig, VIT_DEFAULTS, type ViTConfig } from './config.js';
import type { MaskedImageModelOptions } from './maskedImageModel.js';
import { gridOfTable } from './resizeTables.js';
import type { Pooling } from './visionTransformer.js';

export interface BeitSpec {
  readonly config: ViTConfig;
  /** Outputs of the classifier; 0 for none. */
  readonly classes: number;
  /** What stands for a picture. */
  readonly pooling: Pooling;
  /** Whose mean and deviation its pictures are normalised with. */
  readonly statistics: ImagePipeline;
  /** Of a model that predicts hidden patches; null for others. */
  readonly pretraining: MaskedImageModelOptions | null;
}

/** `normalization` in a config, and what it stands for. */
const NORMALIZATIONS: Readonly<Record<string, ImagePipeline>> = { imagenet: 'imagenet', inception: 'vl' };

/** Width of an attention head in every published BEiT. */
const HEAD_WIDTH = 64;
/** Below this size, evaluation looks at 224 of 256 pixels. */
const WHOLE_FROM = 384;

/** How a model wants its pictures: ImageNet's crop, by the official code of 0.875 of the short side below 384 pixels. */
export function beitPreprocessing({ config, statistics }: Pick<BeitSpec, 'config' | 'statistics'>): Preprocessing {
  return { pipeline: 'imagenet', statistics, cropRatio: config.img_size < WHOLE_FROM ? 224 / 256 : 1 };
}

export interface BeitInferOptions {
  /** Parsed config JSON: its fields win over what is inferred, but cannot contradict the tensors. */
  readonly config?: unknown;
  /** Where `config` comes from, for messages. */
  readonly configName?: string;
  /** What the checkpoint says beside its tensors. */
  readonly extra?: Readonly<Record<string, Plain>>;
}

/** The spec of a checkpoint. Throws InputError for tensors that are none of a BEiT, and for a config of another model. */
export function inferBeit(shapes: Shapes, source: string, options: BeitInferOptions = {}): BeitSpec {
  const { configName = source } = options;
  const given = configOf(options.config, configName, source);
  const shape = (name: string, rank: number): readonly number[] | null => {
    const found = shapes.get(name)?.shape ?? null;
    if (found && found.length !== rank)
      throw new InputError(`${source} is no BEiT: ${name} has ${found.length} axes instead of ${rank}.`);
    return found;
  };
  const proj = shape('patch_embed.proj.weight', 4);
  const fc1 = shape('blocks.0.mlp.fc1.weight', 2);
  if (!holdsBeit({ tensors: shapes }) || !proj || !fc1)
    throw new InputError(`${source} is no BEiT: it has no tensors named patch_embed and blocks.0.`);
  const [D, channels, patch] = proj;
  const own = shape('blocks.0.attn.relative_position_bias_table', 2);
  const shared = shape('rel_pos_bias.relative_position_bias_table', 2);
  const positions = shape('pos_embed', 3);
  const table = own ?? shared;
  const grid = table ? gridOfTable(table[0]) : positions ? Math.sqrt(positions[1] - 1) : null;
  const certain: Record<string, unknown> = {
    patch_size: patch,
    in_chans: channels,
    embed_dim: D,
    depth: countOf(shapes, 'blocks'),
    mlp_ratio: ratioOf(fc1[0], D),
    qkv_bias: biasOf(shapes),
    use_abs_pos_emb: positions !== null,
    use_rel_pos_bias: own !== null,
    use_shared_rel_pos_bias: shared !== null,
    ...(table ? { num_heads: table[1] } : {}),
  };
  const likely: Record<string, unknown> = {
    num_heads: D % HEAD_WIDTH === 0 ? D / HEAD_WIDTH : undefined,
    img_size: grid === null ? undefined : grid * patch,
  };
  // What the tensors tell is looked at alone first: it is no fault of a config.
  parseViTConfig({ num_heads: 1, ...defined(likely), ...certain, init_values: 0 }, source);
  const said = { ...defined(likely), ...given };
  if (certain.num_heads === undefined && said.num_heads === undefined)
    throw new InputError(
      `${source} does not tell how many attention heads its width of ${D} has; say "num_heads" in a config.json beside it or with --config.`,
    );
  const hasScale = shapes.has('blocks.0.gamma_1');
  const scale = (given.init_values as number) > 0 ? given.init_values : layerScale(D);
  const [classes, width] = shape('head.weight', 2) ?? [0, D];
  expectAgreement(given, configName, { ...certain, num_classes: classes }, source);
  const config = parseViTConfig({ ...said, ...certain, init_values: hasScale ? scale : 0 }, configName);
  const pretraining = pretrainingOf(shapes, source, config.depth, given);
  return {
    config,
    classes: pretraining ? 0 : classes,
    pooling: width === 2 * D ? 'both' : shapes.has('fc_norm.weight') ? 'mean' : 'cls',
    statistics: statisticsOf(given, configName, source, pretraining, options.extra),
    pretraining,
  };
}

/** A classifier with fresh weights from a config: what is not said is as the script for fine-tuning has it. Throws InputError. */
export function freshBeit(config: unknown, configName: string): BeitSpec {
  const given = configOf(config, configName, configName);
  const width = Number(given.embed_dim ?? VIT_DEFAULTS.embed_dim);
  const likely = {
    num_heads: width % HEAD_WIDTH === 0 ? width / HEAD_WIDTH : undefined,
    init_values: layerScale(width),
    use_abs_pos_emb: false,
    use_rel_pos_bias: true,
  };
  return {
    config: parseViTConfig({ ...defined(likely), ...given }, configName),
    classes: 0,
    pooling: given.use_mean_pooling === false ? 'cls' : 'mean',
    statistics: statisticsOf(given, configName, configName, null),
    pretraining: null,
  };
}

/** Layer scale of fresh models: 0.1 up to the base size, 1e-5 from the large one on. */
export function layerScale(width: number): number {
  return width > VIT_DEFAULTS.embed_dim ? 1e-5 : 0.1;
}

function configOf(config: unknown, configName: string, source: string): Readonly<Record<string, unknown>> {
  if (config === undefined || config === null) return {};
  if (typeof config !== 'object' || Array.isArray(config))
    throw new InputError(`${configName} is no config: expected a JSON object with fields like embed_dim.`);
  const given = config as Readonly<Record<string, unknown>>;
  if (given.encoder_embed_dim !== undefined)
    throw new InputError(`${configName} is the config of a BEiT-3, but ${source} holds a BEiT; leave it out.`);
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== null));
}

function defined(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}

/** Modules of a list: one more than the highest number. */
function countOf(shapes: Shapes, list: string): number {
  const pattern = new RegExp(`^${list}\\.(\\d{1,4})\\.`);
  return [...shapes.keys()].reduce((most, name) => Math.max(most, Number(pattern.exec(name)?.[1] ?? -1) + 1), 0);
}

/** The ratio whose product with the width, cut to a whole number, is `hidden`. */
function ratioOf(hidden: number, width: number): number {
  return Math.trunc(width * (hidden / width)) === hidden ? hidden / width : (hidden + 0.5) / width;
}

function biasOf(shapes: Shapes): ViTConfig['qkv_bias'] {
  if (shapes.has('blocks.0.attn.q_bias')) return 'split';
  return shapes.has('blocks.0.attn.qkv.bias') ? 'whole' : 'none';
}

/** A config that contradicts the tensors belongs to another model. */
function expectAgreement(
  given: Readonly<Record<string, unknown>>,
  name: string,
  told: Readonly<Record<string, unknown>>,
  source: string,
): void {
  for (const key of ['embed_dim', 'depth', 'num_heads', 'patch_size', 'in_chans', 'num_classes']) {
    const [said, is] = [given[key], told[key]];
    if (said === undefined || is === undefined || said === is) continue;
    throw new InputError(
      `${name} says that ${key} is ${JSON.stringify(said).slice(0, 40)}, but ${source} has ${is}; correct it or leave it out.`,
    );
  }
}

/** The head that predicts hidden patches, and the layers behind the early ones that train [CLS]. */
function pretrainingOf(
  shapes: Shapes,
  source: string,
  depth: number,
  given: Readonly<Record<string, unknown>>,
): MaskedImageModelOptions | null {
  const head = shapes.get('lm_head.weight')?.shape;
  if (!head || !shapes.has('mask_token')) return null;
  const headLayers = countOf(shapes, 'cls_pt_layers');
  if (headLayers === 0) return { codes: head[0] };
  // The tensors do not tell; the official models have 9 of 12 and 21 of 24.
  const earlyLayers = given.early_layers ?? Math.max(1, depth - 3);
  if (!Number.isInteger(earlyLayers) || (earlyLayers as number) < 1 || (earlyLayers as number) > depth)
    throw new InputError(
      `${source}: expected early_layers to be a whole number from 1 to ${depth}, got ${JSON.stringify(earlyLayers)}.`,
    );
  const sharedHead = !shapes.has('cls_pt_lm_head.weight');
  return { codes: head[0], aggregation: { earlyLayers: earlyLayers as number, headLayers, sharedHead } };
}

/**
 * Whose statistics: what a config says, else what the arguments of the training that wrote the file say, else what the
 * official names tell. BEiT v2 was trained with ImageNet's, and so was BEiT where it saw ImageNet-1k alone (pt1k); every other
 * BEiT with Inception's, which are also the default of both programs.
 */
function statisticsOf(
  given: Readonly<Record<string, unknown>>,
  configName: string,
  source: string,
  pretraining: MaskedImageModelOptions | null,
  extra: Readonly<Record<string, Plain>> = {},
): ImagePipeline {
  const said = given.normalization;
  if (said !== undefined) {
    const found = Object.hasOwn(NORMALIZATIONS, String(said)) ? NORMALIZATIONS[String(said)] : undefined;
    if (found) return found;
    throw new InputError(
      `${configName}: expected normalization to be imagenet or inception, got ${JSON.stringify(said)}.`,
    );
  }
  const { args } = extra;
  const state = args instanceof InertObject ? args.state : null;
  if (typeof state === 'object' && state !== null && 'imagenet_default_mean_and_std' in state)
    return state.imagenet_default_mean_and_std === true ? 'imagenet' : 'vl';
  const file = source.split(/[/\\]/).at(-1) ?? source;
  if (pretraining?.aggregation || /^beitv2_|^beit_.*_pt1k/.test(file)) return 'imagenet';
  return 'vl';
}

/** The JSON that describes a model beside its weights, which `inferBeit` reads. */
export function describeBeit({ config, classes, pooling, statistics, pretraining }: BeitSpec): Record<string, unknown> {
  const normalization = Object.entries(NORMALIZATIONS).find(([, value]) => value === statistics)?.[0];
  if (pretraining === null)
    return { ...config, num_classes: classes, use_mean_pooling: pooling === 'mean', normalization };
  const { codes, aggregation } = pretraining;
  const head = aggregation && {
    early_layers: aggregation.earlyLayers,
    head_layers: aggregation.headLayers,
    shared_lm_head: aggregation.sharedHead,
  };
  return { ...config, vocab_size: codes, ...head, normalization };
}
