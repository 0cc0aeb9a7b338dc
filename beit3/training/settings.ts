/** What the settings of all runs by steps have in common. */
import { InputError } from '../../core/errors.js';
import { nearest } from '../../core/nearest.js';

/** Settings of which the later ones win; undefined ones do not count. */
export function mergeSettings<S extends object>(base: S, ...more: readonly Partial<S>[]): S {
  const given = more.flatMap((part) => Object.entries(part).filter(([, value]) => value !== undefined));
  return { ...base, ...Object.fromEntries(given) };
}

/** The recipe of a name. Throws InputError, which names the nearest, for one that there is not. */
export function recipeNamed<R extends { readonly name: string }>(recipes: readonly R[], name: string): R {
  const found = recipes.find((recipe) => recipe.name === name);
  if (found) return found;
  const names = recipes.map((recipe) => recipe.name);
  throw new InputError(`There is no recipe ${JSON.stringify(name)}; the nearest is ${nearest(name, names)}.`);
}

/** Tells of texts that are cut: of the first by name, then of the count whenever it has grown tenfold. */
export function namesCut(note: (text: string) => void, most: number): (where: string, tokens: number) => void {
  let count = 0;
  return (where, tokens) => {
    count++;
    if (count === 1) note(`Cut to ${most} tokens, as all texts are that are longer: ${where}, which has ${tokens}.`);
    else if (Number.isInteger(Math.log10(count))) note(`${count} texts so far were cut to ${most} tokens.`);
  };
}

/** Broken samples that are named one by one. */
const MOST_NAMED = 100;

/** Tells of samples that are passed over: the first ones by name, all by the count of the data. */
export function namesSkipped(note: (text: string) => void): (reason: string) => void {
  let count = 0;
  return (reason) => {
    if (++count <= MOST_NAMED) note(`Skipped: ${reason}`);
    if (count === MOST_NAMED) note('Further broken samples are passed over without a remark.');
  };
}
