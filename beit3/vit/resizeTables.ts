/** Tables of relative positions for pictures of another size, as the code for fine-tuning BEiT resizes them. */
import { InputError } from '../../core/errors.js';
import { CLS_ROWS, distanceCount } from './relativePositions.js';

/** Patches along a side of the grid whose distances a table has; null where its rows are those of none. */
export function gridOfTable(rows: number): number | null {
  const side = Math.sqrt(rows - CLS_ROWS);
  return Number.isInteger(side) && side % 2 === 1 ? (side + 1) / 2 : null;
}

/** Distances on an axis that a cubic spline needs. */
const LEAST = 4;

/**
 * A table [distances, H] of a grid of `from` patches a side for one of `to`. The known distances are stretched to a
 * geometric progression that ends where the new ones do, denser in the middle; between them lies, in both directions, the
 * cubic spline through all of them (without knots at the second and the last but one: what FITPACK's regrid finds). The rows
 * of [CLS] stay. Sums are taken in float64. Throws InputError for grids of less than 3 patches, which have no such spline.
 */
export function resizeDistances(table: Float32Array, from: number, to: number): Float32Array {
  const heads = table.length / distanceCount(from);
  const [src, dst] = [2 * from - 1, 2 * to - 1];
  if (src < LEAST)
    throw new InputError(
      `Relative positions of ${from} x ${from} patches are too few to be resized; keep the size of the pictures.`,
    );
  const weights = splineWeights(
    stretched(from - 1, to - 1),
    Array.from({ length: dst }, (_, i) => i - (to - 1)),
  );
  /** Rows y of [y, x, head], then columns. */
  const down = new Float64Array(dst * src * heads);
  for (let y = 0; y < dst; y++)
    for (let k = 0; k < src; k++) {
      const weight = weights[y * src + k];
      const [to, from] = [y * src * heads, k * src * heads];
      for (let i = 0; i < src * heads; i++) down[to + i] += weight * table[from + i];
    }
  const across = new Float64Array(dst * dst * heads);
  for (let y = 0; y < dst; y++)
    for (let x = 0; x < dst; x++)
      for (let k = 0; k < src; k++) {
        const weight = weights[x * src + k];
        const [to, from] = [(y * dst + x) * heads, (y * src + k) * heads];
        for (let h = 0; h < heads; h++) across[to + h] += weight * down[from + h];
      }
  const out = new Float32Array(distanceCount(to) * heads);
  out.set(across);
  out.set(table.subarray(src * src * heads), dst * dst * heads);
  return out;
}

/** Where the known distances -n to n are put: steps of 1, q, q^2, ... whose sum comes nearest to `reach` for q of 1.01 to 1.5. */
function stretched(n: number, reach: number): number[] {
  let [left, right] = [1.01, 1.5];
  let q = left;
  while (right - left > 1e-6) {
    q = (left + right) / 2;
    if ((1 - q ** n) / (1 - q) > reach) right = q;
    else left = q;
  }
  const places: number[] = [];
  let place = 1;
  for (let i = 0; i < n; i++) {
    places.push(place);
    place += q ** (i + 1);
  }
  return [...places.map((p) => -p).reverse(), 0, ...places];
}

/**
 * What the values at the knots x count for at each place of the cubic spline through them, [places, knots]. The third
 * derivative does not jump at the second knot and the last but one (de Boor, A Practical Guide to Splines, chapter IV);
 * outside the knots the spline stays what it is at the outermost.
 */
export function splineWeights(x: readonly number[], places: readonly number[]): Float64Array {
  const n = x.length;
  const bends = bendsOf(x);
  const out = new Float64Array(places.length * n);
  places.forEach((place, row) => {
    const t = Math.min(x[n - 1], Math.max(x[0], place));
    let i = 0;
    while (i < n - 2 && t > x[i + 1]) i++;
    const h = x[i + 1] - x[i];
    const [a, b] = [(x[i + 1] - t) / h, (t - x[i]) / h];
    out[row * n + i] += a;
    out[row * n + i + 1] += b;
    const [p, q] = [((a ** 3 - a) * h * h) / 6, ((b ** 3 - b) * h * h) / 6];
    for (let k = 0; k < n; k++) out[row * n + k] += p * bends[i * n + k] + q * bends[(i + 1) * n + k];
  });
  return out;
}

/** Second derivatives at the knots by what the values there count for, [knots, knots]: a tridiagonal system for each value. */
function bendsOf(x: readonly number[]): Float64Array {
  const n = x.length;
  const h = Array.from({ length: n - 1 }, (_, i) => x[i + 1] - x[i]);
  const [first, last] = [h[0] / h[1], h[n - 2] / h[n - 3]];
  // The outermost follow from their neighbours: m0 = (1 + r) m1 - r m2 with the ratio r of the steps.
  const lower = (i: number): number => (i === n - 2 ? h[i - 1] - h[i] * last : h[i - 1]);
  const upper = (i: number): number => (i === 1 ? h[1] - h[0] * first : h[i]);
  const middle = (i: number): number =>
    2 * (h[i - 1] + h[i]) + (i === 1 ? h[0] * (1 + first) : 0) + (i === n - 2 ? h[i] * (1 + last) : 0);
  const out = new Float64Array(n * n);
  for (let value = 0; value < n; value++) {
    const slope = (i: number): number => ((i + 1 === value ? 1 : 0) - (i === value ? 1 : 0)) / h[i];
    const factor = new Float64Array(n);
    const m = new Float64Array(n);
    for (let i = 1; i < n - 1; i++) {
      const below = i === 1 ? 0 : lower(i);
      const pivot = middle(i) - below * factor[i - 1];
      factor[i] = upper(i) / pivot;
      m[i] = (6 * (slope(i) - slope(i - 1)) - below * m[i - 1]) / pivot;
    }
    for (let i = n - 3; i >= 1; i--) m[i] -= factor[i] * m[i + 1];
    m[0] = (1 + first) * m[1] - first * m[2];
    m[n - 1] = (1 + last) * m[n - 2] - last * m[n - 3];
    for (let i = 0; i < n; i++) out[i * n + value] = m[i];
  }
  return out;
}
