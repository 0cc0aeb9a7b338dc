/** Results beside those that were published. */

/** One metric, in per cent. */
export interface ComparedMetric {
  readonly name: string;
  readonly measured: number;
  readonly published: number;
  /** measured - published. */
  readonly difference: number;
  /** Not worse by more than the tolerance. */
  readonly ok: boolean;
}

/** The published metrics beside the measured ones. A metric that was not measured is not ok and NaN. */
export function compareMetrics(
  metrics: Readonly<Record<string, number>>,
  published: Readonly<Record<string, number>>,
  tolerance: number,
): ComparedMetric[] {
  return Object.entries(published).map(([name, value]) => {
    const measured = metrics[name] ?? Number.NaN;
    const difference = measured - value;
    // A hair more, so that 0.1 is within 0.1 whatever the rounding of the difference.
    return { name, measured, published: value, difference, ok: difference >= -tolerance - 1e-9 };
  });
}
