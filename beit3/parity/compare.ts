import type { Values } from './dump.js';

export interface Comparison {
  /** Largest absolute difference. */
  readonly maxAbs: number;
  /** ‖difference‖ / ‖reference‖. */
  readonly relNorm: number;
  readonly ok: boolean;
}

/** Bound on outputs and hidden states, times max(1, |reference|), and on the relative norm of gradients. */
export const TOLERANCE = 1e-4;

/**
 * A gradient that is zero in theory (a key bias, when one branch sees the whole sequence) is rounding noise on both
 * sides: norms below this share of all gradients together count as this much.
 */
const NOISE_SHARE = 1e-3;

export function norm(values: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * values[i];
  return Math.sqrt(sum);
}

const MISSING: Comparison = { maxAbs: Number.POSITIVE_INFINITY, relNorm: Number.POSITIVE_INFINITY, ok: false };

function differences(got: Values, want: Values): { maxAbs: number; excess: number; norm: number } | null {
  if (got.values.length !== want.values.length) return null;
  let maxAbs = 0;
  let excess = 0;
  let sum = 0;
  for (let i = 0; i < want.values.length; i++) {
    const a = got.values[i];
    const b = want.values[i];
    if (a === b || (Number.isNaN(a) && Number.isNaN(b))) continue;
    const d = Math.abs(a - b);
    if (Number.isNaN(d)) return null;
    maxAbs = Math.max(maxAbs, d);
    excess = Math.max(excess, d / Math.max(1, Math.abs(b)));
    sum += d * d;
  }
  return { maxAbs, excess, norm: Math.sqrt(sum) };
}

/** Every value within the tolerance of max(1, |reference|), or within `noise`; integers equal. */
export function compareValues(got: Values | undefined, want: Values, noise = 0): Comparison {
  const d = got && differences(got, want);
  if (!d) return MISSING;
  const limit = want.values instanceof Int32Array ? 0 : TOLERANCE;
  return {
    maxAbs: d.maxAbs,
    relNorm: d.norm === 0 ? 0 : d.norm / (norm(want.values) || 1),
    ok: d.excess <= limit || d.maxAbs <= noise,
  };
}

/** The relative norm within the tolerance; `total` is the norm of all reference gradients together. */
export function compareGradient(got: Values | undefined, want: Values, total: number): Comparison {
  const d = got && differences(got, want);
  if (!d) return MISSING;
  const relNorm = d.norm === 0 ? 0 : d.norm / Math.max(norm(want.values), NOISE_SHARE * total);
  return { maxAbs: d.maxAbs, relNorm, ok: relNorm <= TOLERANCE };
}
