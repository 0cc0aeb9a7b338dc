/** Loops that the plain definitions of ops share. */

/** Visits every index of `shape` in row-major order with its position and with the sum of index times `steps`. */
export function walk(
  shape: readonly number[],
  steps: readonly number[],
  visit: (position: number, at: number) => void,
): void {
  const index = new Array<number>(shape.length).fill(0);
  let size = 1;
  for (const d of shape) size *= d;
  for (let position = 0, at = 0; position < size; position++) {
    visit(position, at);
    for (let a = index.length - 1; a >= 0; a--) {
      at += steps[a];
      if (++index[a] < shape[a]) break;
      at -= steps[a] * shape[a];
      index[a] = 0;
    }
  }
}

/** An array seen around one axis: `outer` blocks of `length` rows of `inner` elements. */
export function around(shape: readonly number[], axis: number): { outer: number; length: number; inner: number } {
  const product = (list: readonly number[]) => list.reduce((n, d) => n * d, 1);
  return { outer: product(shape.slice(0, axis)), length: shape[axis], inner: product(shape.slice(axis + 1)) };
}

/** Calls `visit` with the position of the first element of every line along an axis; the next one is `inner` further. */
export function forEachLine(
  shape: readonly number[],
  axis: number,
  visit: (first: number, line: number) => void,
): void {
  const { outer, length, inner } = around(shape, axis);
  for (let o = 0; o < outer; o++) for (let i = 0; i < inner; i++) visit(o * length * inner + i, o * inner + i);
}
