/** Visual tokenizers from checkpoint files, and back. */
import { type Checkpoint, openCheckpoint, type SourceLike } from '../../checkpoints/index.js';
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { makeFilled, parseJson, writableTensors } from '../checkpoint.js';
import { exportWeights } from '../training/export.js';
import { describeVqKd, parseVqKdConfig, type VqKdConfig } from './config.js';
import { layersBelow, shapesOf } from './shapes.js';
import { VqKd } from './vqkd.js';

/** Width of an attention head in the official tokenizers. */
const HEAD_WIDTH = 64;

/** The sizes of a tokenizer: those that its tensors have, and for the rest those of the config inside. Throws InputError for another file. */
export function vqkdConfigOf({ tensors, metadata, extra }: Checkpoint, source: string): VqKdConfig {
  const text = metadata.config ?? extra.config;
  // Other programs may keep anything under this name.
  const isOurs = typeof text === 'string' && text.trimStart().startsWith('{');
  const inside = isOurs ? (parseJson(text, `The config inside ${source}`) as Record<string, unknown>) : {};
  if (tensors.has('model.quantize.embedding.weight'))
    throw new InputError(
      `${source} is a training checkpoint; give the model that its run left, or take the weights out: beit3 convert ${source} model.safetensors.`,
    );
  const shape = shapesOf(
    tensors,
    `${source} is no VQ-KD tokenizer`,
    'give a file such as vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7.pth',
  );
  const [D, , patch] = shape('encoder.patch_embed.proj.weight', 4);
  const [, positions] = shape('encoder.pos_embed', 3);
  const [codes, width] = shape('quantize.embedding.weight', 2);
  const [teacher] = shape('decode_task_layer.2.weight', 2);
  const [hidden] = shape('encoder.blocks.0.mlp.fc1.weight', 2);
  const grid = Math.sqrt(positions - 1);
  const inferred = {
    img_size: grid * patch,
    patch_size: patch,
    embed_dim: D,
    encoder_depth: layersBelow(tensors, 'encoder.blocks.'),
    decoder_depth: layersBelow(tensors, 'decoder.blocks.'),
    num_heads: D % HEAD_WIDTH === 0 ? D / HEAD_WIDTH : undefined,
    mlp_ratio: hidden / D,
    n_code: codes,
    code_dim: width,
    decoder_out_dim: teacher,
  };
  if (inferred.num_heads === undefined && inside.num_heads === undefined)
    throw new InputError(`${source} does not tell how many attention heads its width of ${D} has.`);
  // What the tensors tell cannot be otherwise.
  const told = Object.fromEntries(Object.entries(inferred).filter(([, value]) => value !== undefined));
  const { num_heads: heads, ...certain } = told;
  return parseVqKdConfig({ num_heads: heads, ...inside, ...certain }, source);
}

/** Loads a tokenizer, an official one or one that was trained here, in evaluation mode. Throws InputError for another file. */
export async function loadVqKd(
  source: SourceLike,
  options: { readonly backend?: Backend; readonly onProgress?: (done: number, total: number) => void } = {},
): Promise<{ readonly model: VqKd; readonly config: VqKdConfig }> {
  const checkpoint = await openCheckpoint(source);
  try {
    const name = typeof source === 'string' ? source : 'The tokenizer';
    const config = vqkdConfigOf(checkpoint, name);
    const { model } = await makeFilled((b) => new VqKd(b, config), checkpoint.tensors, name, options);
    model.eval();
    return { model, config };
  } finally {
    await checkpoint.close();
  }
}

/** Writes a tokenizer under the official names, with the config inside; `path` ends in .safetensors or .pth. Throws InputError. */
export async function saveVqKd(model: VqKd, config: VqKdConfig, path: string): Promise<void> {
  const [, stem, format] = /^(.*)\.(safetensors|pth)$/s.exec(path) ?? [];
  if (format === undefined)
    throw new InputError(`Cannot tell the format of ${path}: expected a name that ends in .safetensors or .pth.`);
  const tensors = writableTensors(model.namedTensors());
  await exportWeights(stem, format as 'safetensors' | 'pth', tensors, describeVqKd(config));
}
