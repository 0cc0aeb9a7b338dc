/** What model a checkpoint holds, told from the names and shapes of its tensors. */
import { InputError } from '../core/errors.js';
import { type Beit3Config, configObject, type ModelSpec, parseConfig, TASKS, type Task } from './config.js';

/** Shapes by name: all that is looked at. */
export type Shapes = ReadonlyMap<string, { readonly shape: readonly number[] }>;

const HEADS: readonly (readonly [Task, string])[] = [
  ['retrieval', 'language_head.weight'],
  ['nlvr2', 'head.dense1.weight'],
  ['vqav2', 'pooler.dense.weight'],
  ['imageclassification', 'fc_norm.weight'],
  ['captioning', 'mlm_head.weight'],
];

/** The weight whose rows are the classes of a task. */
export const CLASS_WEIGHT: Record<Task, string | null> = {
  imageclassification: 'head.weight',
  vqav2: 'head.3.weight',
  nlvr2: 'head.dense2.weight',
  captioning: null,
  retrieval: null,
};

/** Width of one attention head in every published BEiT-3 of base and large size. */
const HEAD_WIDTH = 64;

export interface InferOptions {
  /** What the model shall do; needed only where the checkpoint does not say. */
  readonly task?: Task;
  /** Parsed config JSON: its fields win over what is inferred. */
  readonly config?: unknown;
  /** Where `config` comes from, for messages. */
  readonly configName?: string;
}

/** The task of a checkpoint: asked for, named in the config, or told from its head. */
function inferTask(shapes: Shapes, source: string, options: InferOptions): Task {
  const named = (options.config as { task?: unknown } | undefined)?.task;
  const found = HEADS.find(([, name]) => shapes.has(name))?.[0];
  const task = options.task ?? named ?? found;
  if (task === undefined) {
    throw new InputError(
      `${source} holds no task head (a pretrained model?); expected a model fine-tuned for one of ${TASKS.join(', ')}.`,
    );
  }
  if (!TASKS.includes(task as Task))
    throw new InputError(
      `${options.configName ?? source}: expected task to be one of ${TASKS.join(', ')}, got ${JSON.stringify(task)}.`,
    );
  const head = HEADS.find(([t]) => t === task)?.[1] as string;
  if (!shapes.has(head)) {
    throw new InputError(
      `${source} has no ${task} head (${head} is missing)${found ? `; it was fine-tuned for ${found}` : ''}; give a checkpoint fine-tuned for ${task}.`,
    );
  }
  return task as Task;
}

/** Sizes of the backbone whose tensors are named `prefix`...; `prefix` is 'beit3.' in task models. */
export function inferConfig(
  shapes: Shapes,
  source: string,
  { config, configName }: InferOptions = {},
  prefix = 'beit3.',
): Beit3Config {
  const shape = (name: string, rank: number): readonly number[] | null => {
    const s = shapes.get(prefix + name)?.shape;
    if (s && s.length !== rank)
      throw new InputError(
        `${source} is not a BEiT-3 checkpoint: ${prefix + name} has ${s.length} axes instead of ${rank}.`,
      );
    return s ?? null;
  };
  const proj = shape('vision_embed.proj.weight', 4);
  const words = shape('text_embed.weight', 2);
  const positions = shape('encoder.embed_positions.A.weight', 2);
  const textPositions = shape('encoder.embed_positions.B.weight', 2);
  const fc1 = shape('encoder.layers.0.ffn.A.fc1.weight', 2) ?? shape('encoder.layers.0.ffn.B.fc1.weight', 2);
  if (!fc1 || (!proj && !words)) {
    if (shapes.has(`model.${prefix}encoder.embed_positions.A.weight`) || shapes.has(`model.${prefix}text_embed.weight`))
      throw new InputError(
        `${source} is a training checkpoint; give the model that its run left, or take the weights out: beit3 convert ${source} model.safetensors.`,
      );
    throw new InputError(
      `${source} is not a BEiT-3 checkpoint: it has no tensors named ${prefix}encoder.layers.0.ffn...; give one of the official files or one that this tool wrote.`,
    );
  }
  const D = fc1[1];
  let layers = 0;
  for (const name of shapes.keys()) {
    const match = /^encoder\.layers\.(\d{1,4})\./.exec(name.startsWith(prefix) ? name.slice(prefix.length) : '');
    if (match) layers = Math.max(layers, Number(match[1]) + 1);
  }
  const inferred: Record<string, unknown> = {
    encoder_embed_dim: D,
    encoder_ffn_embed_dim: fc1[0],
    encoder_layers: layers,
    normalize_output:
      shapes.has(`${prefix}encoder.layer_norm.A.weight`) || shapes.has(`${prefix}encoder.layer_norm.B.weight`),
    shared_attention: shapes.has(`${prefix}encoder.layers.0.self_attn.q_proj.weight`),
    vl_expert_layers: [...shapes.keys()].filter((name) => name.endsWith('.ffn.VL.fc1.weight')).length,
  };
  if (words) inferred.vocab_size = words[0];
  if (textPositions) inferred.max_source_positions = textPositions[0];
  if (proj) {
    inferred.in_chans = proj[1];
    inferred.patch_size = proj[2];
    const side = Math.sqrt((positions?.[0] ?? 3) - 3);
    if (Number.isInteger(side) && side > 0) inferred.img_size = side * proj[2];
  }
  if (D % HEAD_WIDTH === 0) inferred.encoder_attention_heads = D / HEAD_WIDTH;
  // Tensors that are out of bounds are no fault of a config.
  parseConfig({}, source, { encoder_attention_heads: 1, ...(inferred as Partial<Beit3Config>) });
  const given = configObject(config ?? {}, configName ?? source);
  if (inferred.encoder_attention_heads === undefined && given.encoder_attention_heads === undefined) {
    throw new InputError(
      `${source} does not tell how many attention heads its width of ${D} has; say "encoder_attention_heads" in a config.json beside it or with --config.`,
    );
  }
  const parsed = parseConfig(given, configName ?? source, inferred as Partial<Beit3Config>);
  expectAgreement(given, configName ?? source, inferred, source);
  return parsed;
}

/** Sizes that the tensors have, whatever a config says. */
const TOLD_BY_TENSORS = [
  'encoder_embed_dim',
  'encoder_ffn_embed_dim',
  'encoder_layers',
  'vocab_size',
  'max_source_positions',
  'in_chans',
  'patch_size',
  'num_classes',
] as const;

/** A config that contradicts the tensors belongs to another model: what it says of the rest would be wrong too. */
function expectAgreement(
  given: Readonly<Record<string, unknown>>,
  name: string,
  inferred: Readonly<Record<string, unknown>>,
  source: string,
): void {
  for (const key of TOLD_BY_TENSORS) {
    const [said, is] = [given[key], inferred[key]];
    if (said === undefined || said === null || is === undefined || said === is) continue;
    throw new InputError(
      `${name} says that ${key} is ${JSON.stringify(said).slice(0, 40)}, but ${source} has ${is}; correct it or leave it out.`,
    );
  }
}

/** The whole spec of a fine-tuned checkpoint. */
export function inferSpec(shapes: Shapes, source: string, options: InferOptions = {}): ModelSpec {
  const config = inferConfig(shapes, source, options);
  const task = inferTask(shapes, source, options);
  const weight = CLASS_WEIGHT[task];
  if (weight === null) return { task, config, numClasses: 0 };
  const numClasses = shapes.get(weight)?.shape[0];
  if (numClasses === undefined) {
    throw new InputError(
      `${source} has no ${weight}, which the head of a model for ${task} needs; give a checkpoint fine-tuned for it.`,
    );
  }
  const given = (options.config ?? {}) as Readonly<Record<string, unknown>>;
  expectAgreement(given, options.configName ?? source, { num_classes: numClasses }, source);
  return { task, config, numClasses };
}
