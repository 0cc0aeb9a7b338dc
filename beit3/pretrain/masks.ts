/** Which patches of a picture are hidden. */
import type { Generator } from '../../core/random.js';

export interface BlockMaskOptions {
  /** Patches along a side. */
  readonly grid: number;
  /** Patches to hide, exactly. */
  readonly count: number;
  /** Patches of a block at least, before its shape is rounded; BEiT's is 16. */
  readonly least?: number;
  /** Height over width of a block lies between this and its inverse; BEiT's is 0.3. */
  readonly aspect?: number;
}

const TRIES = 10;

/**
 * Block-wise masking of BEiT (Bao et al. 2022, algorithm 1): rectangles are hidden until `count` patches are, and single
 * patches are shown or hidden at random to make the number exact. Gives [grid * grid], 1 = hidden.
 */
export function blockMask({ grid, count, least = 16, aspect = 0.3 }: BlockMaskOptions, random: Generator): Uint8Array {
  const mask = new Uint8Array(grid * grid);
  let hidden = 0;
  while (hidden < count) {
    const added = addBlock(mask, grid, [least, count - hidden], Math.log(aspect), random);
    if (added === 0) break;
    hidden += added;
  }
  // Either kind of patch may be in excess.
  const excess = hidden > count ? 1 : 0;
  const places = [...mask.keys()].filter((i) => mask[i] === excess);
  for (const at of random.permutation(places.length).slice(0, Math.abs(hidden - count))) mask[places[at]] = 1 - excess;
  return mask;
}

/** Hides a rectangle that hides at most `most` new patches; gives how many, 0 when none was found. */
function addBlock(
  mask: Uint8Array,
  grid: number,
  [least, most]: readonly [number, number],
  logAspect: number,
  random: Generator,
): number {
  for (let i = 0; i < TRIES; i++) {
    const [u, v, row, column] = random.uniform(4);
    const area = least + u * (most - least);
    const ratio = Math.exp(logAspect * (1 - 2 * v));
    const [height, width] = [Math.round(Math.sqrt(area * ratio)), Math.round(Math.sqrt(area / ratio))];
    if (height >= grid || width >= grid) continue;
    const top = Math.floor(row * (grid - height + 1));
    const left = Math.floor(column * (grid - width + 1));
    const fresh: number[] = [];
    for (let y = top; y < top + height; y++)
      for (let x = left; x < left + width; x++) if (mask[y * grid + x] === 0) fresh.push(y * grid + x);
    if (fresh.length === 0 || fresh.length > most) continue;
    for (const at of fresh) mask[at] = 1;
    return fresh.length;
  }
  return 0;
}
