/** The small model in the package: one BEiT-3 for all five tasks, trained on emoji. Needs Node. */

/** Where its files lie; see beit3/zoo/emoji/README.md. */
export interface ShippedModel {
  /** The weights; load them for any task. */
  readonly checkpoint: string;
  readonly tokenizer: string;
  /** Names of the classes, for image classification. */
  readonly classes: string;
  /** The answers, for visual question answering. */
  readonly answers: string;
}

/**
 * The model that comes with the package. It knows emoji and nothing else: pictures of single things on white, words in
 * English.
 */
export async function shippedModel(): Promise<ShippedModel> {
  const { existsSync } = await import('node:fs');
  const { dirname, join } = await import('node:path');
  const { fileURLToPath } = await import('node:url');
  // Up to the folder with package.json: the depth differs between sources and dist/.
  let root = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(root, 'package.json')) && dirname(root) !== root) root = dirname(root);
  const folder = join(root, 'beit3', 'zoo', 'emoji');
  return {
    checkpoint: join(folder, 'model.safetensors'),
    tokenizer: join(folder, 'emoji.spm'),
    classes: join(folder, 'classes.txt'),
    answers: join(folder, 'answer2label.txt'),
  };
}
