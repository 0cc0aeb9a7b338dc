/** CLIP as Hugging Face names its parts (`openai/clip-vit-base-patch16`), under OpenAI's names. */
import { computedEntry, readFloat32, type TensorEntry } from '../../../checkpoints/index.js';

/** What stands there -> what OpenAI says. */
const NAMES: readonly (readonly [RegExp, string])[] = [
  [/^vision_model\.embeddings\.class_embedding$/, 'visual.class_embedding'],
  [/^vision_model\.embeddings\.patch_embedding\./, 'visual.conv1.'],
  [/^vision_model\.embeddings\.position_embedding\.weight$/, 'visual.positional_embedding'],
  // Their spelling.
  [/^vision_model\.pre_layrnorm\./, 'visual.ln_pre.'],
  [/^vision_model\.post_layernorm\./, 'visual.ln_post.'],
  [/^vision_model\.encoder\.layers\.(\d{1,4})\./, 'visual.transformer.resblocks.$1.'],
  [/\.layer_norm([12])\./, '.ln_$1.'],
  [/\.self_attn\./, '.attn.'],
  [/\.mlp\.fc1\./, '.mlp.c_fc.'],
  [/\.mlp\.fc2\./, '.mlp.c_proj.'],
];

/** Whether tensors have these names. */
export function isHuggingFaceClip(tensors: ReadonlyMap<string, unknown>): boolean {
  return tensors.has('vision_model.embeddings.patch_embedding.weight');
}

/** The tensors of the vision tower by OpenAI's names: queries, keys and values in one matrix, and x W instead of W x. */
export function openAiNames(tensors: ReadonlyMap<string, TensorEntry>): Map<string, TensorEntry> {
  const out = new Map<string, TensorEntry>();
  for (const [name, entry] of tensors) {
    if (name.startsWith('vision_model.'))
      out.set(
        NAMES.reduce((text, [from, to]) => text.replace(from, to), name),
        entry,
      );
    else if (name === 'visual_projection.weight') out.set('visual.proj', transposed(entry));
  }
  for (const [name, q] of [...out]) {
    const [, before, part] = /^(.*\.attn\.)q_proj\.(weight|bias)$/.exec(name) ?? [];
    const [k, v] = ['k', 'v'].map((letter) => out.get(`${before}${letter}_proj.${part}`));
    if (k && v) out.set(`${before}in_proj_${part}`, joined([q, k, v]));
  }
  return out;
}

/** Tensors of one shape, their rows one below the other. */
function joined(parts: readonly TensorEntry[]): TensorEntry {
  const [first] = parts;
  const [rows, ...rest] = first.shape;
  return computedEntry(first.name, [rows * parts.length, ...rest], async () => {
    const size = first.shape.reduce((a, b) => a * b, 1);
    const values = new Float32Array(size * parts.length);
    for (const [i, part] of parts.entries()) await readFloat32(part, values.subarray(i * size, (i + 1) * size));
    return values;
  });
}

function transposed(entry: TensorEntry): TensorEntry {
  const [rows, columns] = entry.shape;
  return computedEntry(entry.name, [columns, rows], async () => {
    const values = await readFloat32(entry);
    return values.map((_, i) => values[(i % rows) * columns + Math.floor(i / rows)]);
  });
}
