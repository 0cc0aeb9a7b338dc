/** What files a person may give, told by their names. */

export type FileKind = 'checkpoint' | 'tokenizer' | 'labels';

const KINDS: readonly (readonly [FileKind, RegExp])[] = [
  ['checkpoint', /\.(safetensors|pth|pt)$/i],
  ['tokenizer', /\.(spm|model)$/i],
  ['labels', /\.(txt|json)$/i],
];

/** The endings of files that belong to a model, for file pickers. */
export const MODEL_ENDINGS = '.safetensors,.pth,.pt,.spm,.model,.txt,.json';

/** The kind of a file of this name; null where it is none of a model's. */
export function kindOf(name: string): FileKind | null {
  return KINDS.find(([, ending]) => ending.test(name))?.[0] ?? null;
}
