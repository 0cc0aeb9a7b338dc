/** Other frameworks on the same problems. They are never dependencies: what is installed is found when asked for. */
import type { DType } from '../../core/dtype.js';
import type { Case, Sizes } from '../kernels/cases.js';
import type { TimingOptions } from '../kernels/timing.js';

export interface Peer {
  readonly name: string;
  /** Beside which of our backends it is shown. */
  readonly beside: readonly string[];
  /** Seconds of a call (median); null when it has nothing like it. */
  time(of: Case, sizes: Sizes, dtype: DType, options: TimingOptions): Promise<number | null>;
  close(): Promise<void>;
}

/** A peer, or why it is not here. */
export type Found = Peer | { readonly name: string; readonly missing: string };
