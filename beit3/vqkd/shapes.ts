/** What the names and shapes of tensors tell of a model. */
import { InputError } from '../../core/errors.js';

/** Shapes by name: all that is looked at. */
export type Shapes = ReadonlyMap<string, { readonly shape: readonly number[] }>;

/** Gives shapes of tensors that must be there; `complaint` begins the sentence of the InputError where one is not. */
export function shapesOf(tensors: Shapes, complaint: string, advice: string) {
  return (name: string, rank: number): readonly number[] => {
    const found = tensors.get(name)?.shape;
    if (found?.length === rank) return found;
    throw new InputError(`${complaint}: it has no ${name} of ${rank} axes; ${advice}.`);
  };
}

/** How many layers there are below names such as `blocks.11.`: the largest number and one; 0 for none. */
export function layersBelow(tensors: Shapes, prefix: string): number {
  let layers = 0;
  for (const name of tensors.keys()) {
    const number = name.startsWith(prefix) ? /^\d{1,4}(?=\.)/.exec(name.slice(prefix.length)) : null;
    if (number) layers = Math.max(layers, Number(number[0]) + 1);
  }
  return layers;
}
