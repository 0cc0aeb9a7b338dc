import { InputError } from '../core/errors.js';

/** Keys' constant for the cubic kernel, as in PyTorch. */
const A = -0.75;

/**
 * A table of position embeddings for another image size: the first `extraRows` rows are kept, the others, a square
 * grid row by row, are resized by bicubic interpolation (not antialiased, corners not aligned, border repeated), as
 * the reference does when it loads a checkpoint of another resolution.
 * @param table [rows, dim]; sums are taken in float64
 * @param newRows rows of the result, `extraRows` included
 * @param extraRows 3 for BEiT-3: two that fairseq reserves and the class token
 * @param spread patches of the result that span the old grid, where these are not all of a side: some code adds 0.1
 * @returns [newRows, dim]
 */
export function resizePositions(
  table: Float32Array,
  rows: number,
  dim: number,
  newRows: number,
  extraRows = 3,
  spread?: number,
): Float32Array {
  if (table.length !== rows * dim) {
    throw new InputError(`Position table: expected ${rows} x ${dim} values, got ${table.length}.`);
  }
  const oldSide = sideOf(rows, extraRows);
  const newSide = sideOf(newRows, extraRows);
  const out = new Float32Array(newRows * dim);
  if (newRows === rows) {
    out.set(table);
    return out;
  }
  out.set(table.subarray(0, extraRows * dim));
  const taps = cubicTaps(oldSide, newSide, spread ?? newSide);
  const sum = new Float64Array(dim);
  for (let y = 0; y < newSide; y++) {
    for (let x = 0; x < newSide; x++) {
      sum.fill(0);
      for (let i = 0; i < 4; i++) {
        for (let j = 0; j < 4; j++) {
          const weight = taps.weights[y * 4 + i] * taps.weights[x * 4 + j];
          const from = (extraRows + taps.indices[y * 4 + i] * oldSide + taps.indices[x * 4 + j]) * dim;
          for (let d = 0; d < dim; d++) sum[d] += weight * table[from + d];
        }
      }
      out.set(sum, (extraRows + y * newSide + x) * dim);
    }
  }
  return out;
}

function sideOf(rows: number, extraRows: number): number {
  const side = Math.round(Math.sqrt(Math.max(0, rows - extraRows)));
  if (side < 1 || side * side + extraRows !== rows) {
    throw new InputError(`Position table: ${rows} rows are not ${extraRows} and a square grid.`);
  }
  return side;
}

/** For each of `size` outputs, `spread` of which span the inputs, the four inputs and their weights along one axis. */
function cubicTaps(inputs: number, size: number, spread: number): { indices: Int32Array; weights: Float64Array } {
  const indices = new Int32Array(size * 4);
  const weights = new Float64Array(size * 4);
  const near = (t: number): number => ((A + 2) * t - (A + 3)) * t * t + 1;
  const far = (t: number): number => ((A * t - 5 * A) * t + 8 * A) * t - 4 * A;
  for (let o = 0; o < size; o++) {
    const position = ((o + 0.5) * inputs) / spread - 0.5;
    const floor = Math.floor(position);
    const t = position - floor;
    weights.set([far(t + 1), near(t), near(1 - t), far(2 - t)], o * 4);
    for (let k = 0; k < 4; k++) indices[o * 4 + k] = Math.min(inputs - 1, Math.max(0, floor - 1 + k));
  }
  return { indices, weights };
}
