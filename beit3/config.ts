import { InputError } from '../core/errors.js';

/** The downstream tasks that have a head. */
export const TASKS = ['imageclassification', 'vqav2', 'nlvr2', 'captioning', 'retrieval'] as const;
export type Task = (typeof TASKS)[number];

/** Sizes of a BEiT-3; the names are those of the reference's encoder config. */
export interface Beit3Config {
  /** Width D. */
  readonly encoder_embed_dim: number;
  readonly encoder_attention_heads: number;
  readonly encoder_ffn_embed_dim: number;
  readonly encoder_layers: number;
  /** Side of the square input image, in pixels. */
  readonly img_size: number;
  readonly patch_size: number;
  readonly in_chans: number;
  /** Rows of the word table. */
  readonly vocab_size: number;
  /** Rows of the text position table; a text holds at most two tokens less (positions start at 2, as in fairseq). */
  readonly max_source_positions: number;
  readonly layernorm_eps: number;
  /** Whether the encoder ends with a LayerNorm. */
  readonly normalize_output: boolean;
  /** Stochastic depth of the last layer; earlier layers less, linearly. */
  readonly drop_path_rate: number;
  /** Recompute activations in backward, layer by layer, instead of keeping them. */
  readonly checkpoint_activations: boolean;
  /** Whether one attention serves vision and language; the published base and large have two. */
  readonly shared_attention: boolean;
  /** How many of the topmost layers have a third feed-forward, for pictures and texts read together. */
  readonly vl_expert_layers: number;
  /** What pipelines put behind transparent pictures; by default nothing: the colours below transparency count. */
  readonly image_background?: 'white';
}

const COMMON = {
  img_size: 224,
  patch_size: 16,
  in_chans: 3,
  vocab_size: 64010,
  max_source_positions: 1024,
  layernorm_eps: 1e-5,
  normalize_output: true,
  drop_path_rate: 0,
  checkpoint_activations: false,
  shared_attention: false,
  vl_expert_layers: 0,
};

/** The published sizes. */
export const SIZES: Readonly<Record<'base' | 'large' | 'giant', Beit3Config>> = {
  base: {
    ...COMMON,
    encoder_embed_dim: 768,
    encoder_attention_heads: 12,
    encoder_ffn_embed_dim: 3072,
    encoder_layers: 12,
  },
  large: {
    ...COMMON,
    encoder_embed_dim: 1024,
    encoder_attention_heads: 16,
    encoder_ffn_embed_dim: 4096,
    encoder_layers: 24,
  },
  // Never published; sizes of the paper's table 2.
  giant: {
    ...COMMON,
    patch_size: 14,
    encoder_embed_dim: 1408,
    encoder_attention_heads: 16,
    encoder_ffn_embed_dim: 6144,
    encoder_layers: 40,
    shared_attention: true,
    vl_expert_layers: 3,
  },
};

/** Rows of the vision position table: patches, [CLS] and two unused ones. */
export function visionPositions(config: Beit3Config): number {
  return patchCount(config) + 3;
}

export function patchCount({ img_size, patch_size }: Pick<Beit3Config, 'img_size' | 'patch_size'>): number {
  return Math.floor(img_size / patch_size) ** 2;
}

const INTEGERS = [
  ['encoder_embed_dim', 1 << 16],
  ['encoder_attention_heads', 4096],
  ['encoder_ffn_embed_dim', 1 << 18],
  ['encoder_layers', 1024],
  ['img_size', 1 << 13],
  ['patch_size', 1 << 12],
  ['in_chans', 1024],
  ['vocab_size', 1 << 24],
  ['max_source_positions', 1 << 20],
] as const;

/** Patches of an image at most; attention takes the square of their number in time. */
const MOST_PATCHES = 1 << 16;

/** Parsed JSON that is to be a config. Throws InputError unless it is an object. */
export function configObject(json: unknown, source: string): Readonly<Record<string, unknown>> {
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  throw new InputError(`${source} is not a BEiT-3 config: expected a JSON object with fields like encoder_embed_dim.`);
}

/**
 * A config from parsed JSON: missing fields come from `defaults`, unknown ones are ignored (the reference's config has
 * dozens), wrong ones throw one sentence.
 */
export function parseConfig(json: unknown, source: string, defaults: Partial<Beit3Config> = COMMON): Beit3Config {
  const given = configObject(json, source);
  const merged: Record<string, unknown> = { ...COMMON, ...defaults };
  for (const key of Object.keys({ ...COMMON, ...SIZES.base }))
    if (given[key] !== undefined && given[key] !== null) merged[key] = given[key];
  for (const [key, most] of INTEGERS) {
    const v = merged[key];
    if (!Number.isInteger(v) || (v as number) < 1 || (v as number) > most) {
      throw new InputError(
        `${source}: expected ${key} to be a whole number from 1 to ${most}, got ${JSON.stringify(v)}.`,
      );
    }
  }
  for (const key of ['layernorm_eps', 'drop_path_rate'] as const) {
    const v = merged[key];
    if (typeof v !== 'number' || !(v >= 0 && v < 1)) {
      throw new InputError(`${source}: expected ${key} to be a number from 0 to below 1, got ${JSON.stringify(v)}.`);
    }
  }
  for (const key of ['multiway', 'subln'] as const) {
    if (given[key] === false)
      throw new InputError(`${source}: ${key} is false, but BEiT-3 is a multiway sub-LayerNorm transformer.`);
  }
  for (const key of ['normalize_output', 'checkpoint_activations', 'shared_attention'] as const) {
    if (typeof merged[key] !== 'boolean')
      throw new InputError(`${source}: expected ${key} to be true or false, got ${JSON.stringify(merged[key])}.`);
  }
  if (given.image_background !== undefined && given.image_background !== null) {
    if (given.image_background !== 'white') {
      throw new InputError(
        `${source}: expected image_background to be "white" or to be left out, got ${JSON.stringify(given.image_background)}.`,
      );
    }
    merged.image_background = 'white';
  }
  const config = merged as unknown as Beit3Config;
  const { vl_expert_layers: experts } = config;
  if (!Number.isInteger(experts) || experts < 0 || experts > config.encoder_layers) {
    throw new InputError(
      `${source}: expected vl_expert_layers to be a whole number from 0 to the number of layers, got ${JSON.stringify(experts)}.`,
    );
  }
  if (config.encoder_embed_dim % config.encoder_attention_heads !== 0) {
    throw new InputError(
      `${source}: encoder_embed_dim ${config.encoder_embed_dim} is not divisible by encoder_attention_heads ${config.encoder_attention_heads}.`,
    );
  }
  if (config.patch_size > config.img_size) {
    throw new InputError(`${source}: patch_size ${config.patch_size} is larger than img_size ${config.img_size}.`);
  }
  if (patchCount(config) > MOST_PATCHES) {
    throw new InputError(
      `${source}: an image of ${config.img_size} pixels a side has ${patchCount(config)} patches of ${config.patch_size}, more than ${MOST_PATCHES}; use a smaller img_size.`,
    );
  }
  return config;
}

/** What a model is for: sizes, the task's head and how many classes it tells apart. */
export interface ModelSpec {
  readonly task: Task;
  readonly config: Beit3Config;
  /** Outputs of the head; 0 for tasks without classes. */
  readonly numClasses: number;
}

const CLASSES: Record<Task, number> = { imageclassification: 1000, vqav2: 3129, nlvr2: 2, captioning: 0, retrieval: 0 };

/** The tasks whose encoder has no final LayerNorm in the official models. */
export function normalizesOutput(task: Task): boolean {
  return task !== 'imageclassification' && task !== 'vqav2';
}

/** The names that the official registry has: sizes and resolutions by task. */
const OFFICIAL: Record<Task, readonly (readonly ['base' | 'large', number])[]> = {
  imageclassification: [
    ['base', 224],
    ['large', 224],
  ],
  nlvr2: [
    ['base', 224],
    ['large', 224],
  ],
  vqav2: [
    ['base', 384],
    ['base', 480],
    ['large', 384],
    ['large', 480],
    ['large', 768],
  ],
  captioning: [
    ['base', 224],
    ['base', 480],
    ['large', 480],
  ],
  retrieval: [
    ['base', 224],
    ['base', 384],
    ['large', 384],
  ],
};

/** Official model name -> what it is. */
export const MODELS: ReadonlyMap<string, ModelSpec> = new Map(
  TASKS.flatMap((task) =>
    OFFICIAL[task].map(([size, resolution]): [string, ModelSpec] => [
      `beit3_${size}_patch16_${resolution}_${task}`,
      {
        task,
        config: { ...SIZES[size], img_size: resolution, normalize_output: normalizesOutput(task) },
        numClasses: CLASSES[task],
      },
    ]),
  ),
);

/** The model of an official name. */
export function modelSpec(name: string): ModelSpec {
  const spec = MODELS.get(name);
  if (!spec) throw new InputError(`There is no model named ${name}; expected one of ${[...MODELS.keys()].join(', ')}.`);
  return spec;
}
