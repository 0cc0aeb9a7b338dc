/** Teachers from checkpoint files, told apart by their tensors. */
import {
  type Checkpoint,
  computedEntry,
  openCheckpoint,
  readFloat32,
  resizePositions,
  type SourceLike,
  type TensorEntry,
} from '../../../checkpoints/index.js';
import type { Backend } from '../../../core/backend.js';
import { InputError } from '../../../core/errors.js';
import { atImageSize, configOf, makeFilled } from '../../checkpoint.js';
import { STATISTICS } from '../../images/preprocess.js';
import { inferConfig } from '../../infer.js';
import { Backbone } from '../../model/backbone.js';
import { gridOf } from '../../vit/config.js';
import { VisionTransformer } from '../../vit/visionTransformer.js';
import { CLIP_STATISTICS, ClipVision, inferClip } from './clip.js';
import { inferDino } from './dino.js';
import { isHuggingFaceClip, openAiNames } from './huggingFace.js';
import { renormalized, type Teacher, teacherOf } from './teacher.js';
import { towerFeatures } from './tower.js';

export interface TeacherOptions {
  readonly backend?: Backend;
  /** Side of the pictures; position tables are resized where the teacher was trained on another. Default: its own. */
  readonly imageSize?: number;
  /**
   * Patches along a side. Of a BEiT-3 a multiple of its own is allowed: each of its patches then stands for several. Default:
   * what the teacher has for pictures of that size.
   */
  readonly grid?: number;
  /** Of a BEiT-3: the layer whose outputs are the features, from 0; negative counts from the last. Default -2. */
  readonly layer?: number;
  /** Attention heads of a CLIP or DINO. Default: one for each 64 of its width, as all published ones have. */
  readonly heads?: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/** Where the official training checkpoints of VQ-KD keep the teacher. */
const INSIDE = 'teacher_model.';
/** What the code of CLIP and DINO in BEiT v2 adds to the new side when it resizes positions. */
const SPREAD = 0.1;

/**
 * Loads a teacher: CLIP with a ViT (OpenAI's TorchScript archive or state dict, or Hugging Face's names), DINO, an official
 * VQ-KD checkpoint with its teacher inside, or any BEiT-3 with weights for pictures. Throws InputError for another file,
 * and for sizes that it cannot have.
 */
export async function loadTeacher(source: SourceLike, options: TeacherOptions = {}): Promise<Teacher> {
  const name = typeof source === 'string' ? source : 'The teacher';
  const checkpoint = await openCheckpoint(source);
  try {
    const inside = [...checkpoint.tensors].filter(([key]) => key.startsWith(INSIDE));
    const given =
      inside.length === 0
        ? checkpoint.tensors
        : new Map(inside.map(([key, entry]) => [key.slice(INSIDE.length), entry]));
    const tensors = isHuggingFaceClip(given) ? openAiNames(given) : given;
    if (tensors.has('beit3.vision_embed.proj.weight')) return await beit3(checkpoint, source, name, options);
    if (options.layer !== undefined)
      throw new InputError(`${name} is no BEiT-3, and of other teachers the last layer is taken; give no layer.`);
    if (tensors.has('visual.conv1.weight') || tensors.has('visual.proj')) return await clip(tensors, name, options);
    if (tensors.has('blocks.0.attn.qkv.bias')) return await dino(tensors, name, options);
    const what = tensors.has('quantize.embedding.weight') ? 'a tokenizer without its teacher' : 'no teacher';
    throw new InputError(
      `${name} is ${what}; give CLIP with a ViT (ViT-B-16.pt), DINO (dino_vitbase16_pretrain.pth) or a BEiT-3 with weights for pictures.`,
    );
  } finally {
    await checkpoint.close();
  }
}

async function clip(
  tensors: ReadonlyMap<string, TensorEntry>,
  name: string,
  options: TeacherOptions,
): Promise<Teacher> {
  const config = inferClip(tensors, name, options);
  const { imageSize, patch, output } = config;
  const grid = gridOf({ img_size: imageSize, patch_size: patch });
  expectGrid(name, options, grid, patch, imageSize);
  const entries = resized(tensors, 'visual.positional_embedding', 0, grid);
  const { model } = await makeFilled((b) => new ClipVision(b, config), entries, name, options);
  return teacherOf({ kind: 'clip', width: output, imageSize, grid }, model, (images) =>
    model.patches(renormalized(images, CLIP_STATISTICS)),
  );
}

async function dino(
  tensors: ReadonlyMap<string, TensorEntry>,
  name: string,
  options: TeacherOptions,
): Promise<Teacher> {
  const config = inferDino(tensors, name, options);
  const grid = gridOf(config);
  const { img_size: imageSize, patch_size: patch, embed_dim: width } = config;
  expectGrid(name, options, grid, patch, imageSize);
  const entries = resized(tensors, 'pos_embed', 1, grid);
  const make = { classes: 0, pooling: 'cls' } as const;
  const { model } = await makeFilled((b) => new VisionTransformer(b, config, make), entries, name, options);
  return teacherOf({ kind: 'dino', width, imageSize, grid }, model, (images) =>
    model.patches(renormalized(images, STATISTICS.imagenet)),
  );
}

async function beit3(
  checkpoint: Checkpoint,
  source: SourceLike,
  name: string,
  options: TeacherOptions,
): Promise<Teacher> {
  const own = inferConfig(checkpoint.tensors, name, await configOf(checkpoint, source));
  const config = atImageSize(own, options.imageSize);
  const { img_size: imageSize, patch_size: patch, encoder_embed_dim: width, encoder_layers: layers } = config;
  const coarse = gridOf(config);
  const grid = options.grid ?? coarse;
  const finer = grid / coarse;
  if (!Number.isInteger(finer)) expectGrid(name, options, coarse, patch, imageSize);
  const { layer: asked = Math.max(-2, -layers) } = options;
  const layer = asked < 0 ? layers + asked : asked;
  if (!Number.isInteger(layer) || layer < 0 || layer >= layers)
    throw new InputError(`${name} has ${layers} layers, 0 to ${layers - 1}; there is no layer ${asked}.`);
  const make = { A: true, B: false };
  const { model } = await makeFilled((b) => new Backbone(b, config, make), checkpoint.tensors, name, options);
  return teacherOf({ kind: 'beit3', width, imageSize, grid }, model, (images) =>
    towerFeatures(model.beit3, images, { layer, finer }),
  );
}

function expectGrid(name: string, { grid }: TeacherOptions, own: number, patch: number, imageSize: number): void {
  if (grid === undefined || grid === own) return;
  throw new InputError(
    `${name} sees ${own} x ${own} patches of ${patch} pixels in pictures of ${imageSize}, not ${grid} x ${grid}; choose an image size and patches that fit it.`,
  );
}

/** The tensors with a table of positions (rows along `axis`: [CLS], then a square) for another grid, as BEiT v2 resizes it. */
function resized(
  tensors: ReadonlyMap<string, TensorEntry>,
  name: string,
  axis: number,
  grid: number,
): ReadonlyMap<string, TensorEntry> {
  const entry = tensors.get(name) as TensorEntry;
  const { shape } = entry;
  const rows = 1 + grid * grid;
  if (shape[axis] === rows) return tensors;
  const make = async () =>
    resizePositions(await readFloat32(entry), shape[axis], shape[axis + 1], rows, 1, grid + SPREAD);
  return new Map(tensors).set(name, computedEntry(name, shape.with(axis, rows), make));
}
