/** Comparison of arrays: NaN equals NaN, an infinity only itself; a failure names the worst element. */
import assert from 'node:assert/strict';
import type { Values } from './backends.js';
import type { Tolerance } from './tolerance.js';

/** How far `got` is outside the tolerance: 1 is its border. */
function excess(got: number, wanted: number, { relative, absolute }: Tolerance): number {
  if (got === wanted || (Number.isNaN(got) && Number.isNaN(wanted))) return 0;
  if (!Number.isFinite(got) || !Number.isFinite(wanted)) return Number.POSITIVE_INFINITY;
  return Math.abs(got - wanted) / (absolute + relative * Math.abs(wanted) || Number.MIN_VALUE);
}

export function assertClose(
  got: ArrayLike<number>,
  wanted: ArrayLike<number>,
  tolerance: Tolerance,
  what: string,
  shape: readonly number[] = [wanted.length],
): void {
  assert.equal(got.length, wanted.length, `${what}: number of elements`);
  let worst = 0;
  let at = 0;
  let outside = 0;
  for (let i = 0; i < wanted.length; i++) {
    const e = excess(got[i], wanted[i], tolerance);
    if (e > 1) outside++;
    if (e > worst) [worst, at] = [e, i];
  }
  if (outside === 0) return;
  assert.fail(
    `${what}: ${outside} of ${wanted.length} elements differ; worst at [${indexOf(at, shape).join(', ')}]: ` +
      `got ${got[at]}, wanted ${wanted[at]} (${worst.toPrecision(3)} times the tolerance)`,
  );
}

/** The index of a row-major position. */
function indexOf(position: number, shape: readonly number[]): number[] {
  const index: number[] = [];
  for (let rest = position, axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(rest % shape[axis]);
    rest = Math.floor(rest / shape[axis]);
  }
  return index;
}

/** Compares shape, dtype and values. */
export function assertSame(got: Values, wanted: Values, tolerance: Tolerance, what: string): void {
  assert.deepEqual([...got.shape], [...wanted.shape], `${what}: shape`);
  assert.equal(got.dtype, wanted.dtype, `${what}: dtype`);
  assertClose(got.data, wanted.data, tolerance, what, wanted.shape);
}
