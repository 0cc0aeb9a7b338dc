/** Comparison of arrays: NaN equals NaN, an infinity only itself; a failure names the worst element. */
import type { Tolerance } from './tolerance.js';
import type { Values } from './values.js';

const fail = (message: string): never => {
  throw new Error(message);
};

/** How far `got` is outside the tolerance: 1 is its border. */
function excess(got: number, wanted: number, { relative, absolute }: Tolerance): number {
  if (Number.isNaN(got) && Number.isNaN(wanted)) return 0;
  // What is exact keeps the sign of a zero.
  if (got === wanted) return relative === 0 && absolute === 0 && !Object.is(got, wanted) ? Number.POSITIVE_INFINITY : 0;
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
  if (got.length !== wanted.length) fail(`${what}: got ${got.length} elements, wanted ${wanted.length}`);
  let worst = 0;
  let at = 0;
  let outside = 0;
  for (let i = 0; i < wanted.length; i++) {
    const e = excess(got[i], wanted[i], tolerance);
    if (e > 1) outside++;
    if (e > worst) [worst, at] = [e, i];
  }
  if (outside === 0) return;
  fail(
    `${what}: ${outside} of ${wanted.length} elements differ; worst at [${indexOf(at, shape).join(', ')}]: ` +
      `got ${shown(got[at])}, wanted ${shown(wanted[at])} (${worst.toPrecision(3)} times the tolerance)`,
  );
}

/** A number in a message. */
export const shown = (v: number): string => (Object.is(v, -0) ? '-0' : String(v));

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
  const [a, b] = [got, wanted].map(({ dtype, shape }) => `${dtype}[${shape.join(', ')}]`);
  if (a !== b) fail(`${what}: got ${a}, wanted ${b}`);
  assertClose(got.data, wanted.data, tolerance, what, wanted.shape);
}
