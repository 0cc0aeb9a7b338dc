/** Which family a checkpoint is of, told from the names of its tensors. */

/** What knows tensors by name: an open checkpoint, for one. */
export interface Named {
  readonly tensors: { has(name: string): boolean };
}

/** Whether it holds the plain vision transformer of BEiT or BEiT v2, pretrained or fine-tuned. */
export function holdsBeit({ tensors }: Named): boolean {
  return tensors.has('cls_token') && tensors.has('patch_embed.proj.weight') && tensors.has('blocks.0.attn.qkv.weight');
}

/** Whether it holds a VQ-KD tokenizer. */
export function holdsTokenizer({ tensors }: Named): boolean {
  return tensors.has('quantize.embedding.weight');
}
