/** What a backend is: memory, copies, and kernels over untyped bytes. It knows no tensor and no gradient. */
import type { DType, TypedArray } from './dtype.js';
import type { Expr } from './expr.js';
import type { Layout } from './layout.js';

/** Shape and dtype of an operand or result. */
export interface Spec {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** What lives long: parameters, or moments of an optimiser. */
export type Residence = 'parameter' | 'state';

/** A piece of a backend's memory; only that backend looks inside. */
export interface Block {
  /** Size as asked for. */
  readonly bytes: number;
}

/** A strided array in a backend's memory. */
export interface View extends Spec, Layout {
  readonly block: Block;
}

/** Options of an op: plain data. */
export type Attrs = object;

/** Executes a planned kernel into outputs that are freshly allocated and contiguous. */
export type Run = (outputs: readonly View[]) => void;

/** A fused or primitive kernel, attached to an op by its name. */
export interface Kernel {
  /** Whether it takes inputs of any strides; otherwise it is given contiguous ones. */
  readonly strided?: boolean;
  /** What to run for these operands, or null for a case that the kernel does not handle. */
  plan(inputs: readonly (View | null)[], attrs: Attrs, outputs: readonly Spec[]): Run | null;
}

export interface Capabilities {
  /** Dtypes that can be stored. */
  readonly dtypes: ReadonlySet<DType>;
  /** Dtypes that are only stored: operands are cast to float32 before a computation, results back after it. */
  readonly storageOnly: ReadonlySet<DType>;
}

export interface Stats {
  /** Bytes now given out, and blocks they lie in. */
  liveBytes: number;
  liveBlocks: number;
  /** Largest liveBytes so far. */
  peakBytes: number;
  /** Kernels started so far; a run that does not count its own counts as one. */
  launches: number;
}

/**
 * Work of a backend that is written down while it runs, to be run again on the same memory. What is allocated meanwhile
 * belongs to the recording until that is disposed of.
 */
export interface Recording {
  /** Commands written down so far. */
  readonly commands: number;
  /** A place in the recording: where it stands now. */
  readonly position: number;
  /** Stops writing down. */
  end(): void;
  /** Calls `again`, which repeats what was recorded from `position` on with other scalars and host values; replays use these. */
  refresh(position: number, again: () => void): void;
  /** Starts everything again. */
  replay(): void;
  dispose(): void;
}

/** A kernel with the times, in milliseconds on a clock of the device's, at which it began and ended. */
export interface TimedKernel {
  /** What `mark` was told last before it was started. */
  readonly owner: number;
  readonly name: string;
  /** Whether a recording started it again. */
  readonly replayed: boolean;
  readonly start: number;
  readonly end: number;
}

/** Kernels that a timer measures at most, so that memory stays bounded. */
export const MOST_KERNELS = 500_000;

/** Measures kernels where they run: the first MOST_KERNELS. */
export interface KernelTimer {
  /** What is started from now on belongs to this number; -1 at first. */
  mark(owner: number): void;
  /** Ends measuring. */
  stop(): Promise<readonly TimedKernel[]>;
}

/** What hardware does at best. */
export interface Ceilings {
  /** float32 operations a second; a multiply-add counts as two. */
  readonly float32: number;
  /** float16 operations a second outside matrix units; null where there are none. */
  readonly float16: number | null;
  /** Operations a second of matrix units; null where there are none. */
  readonly matrix: number | null;
  /** Bytes a second that a copy reads and writes together. */
  readonly bandwidth: number;
}

export interface Backend {
  readonly name: string;
  readonly caps: Capabilities;
  /** What people want to know of it: the name of the GPU, threads. */
  readonly details?: Readonly<Record<string, string | number | boolean>>;
  readonly kernels: ReadonlyMap<string, Kernel>;
  readonly stats: Stats;
  /** A kernel for a scalar expression over broadcast inputs, or null where the backend cannot; `key` names it in caches. */
  compile(key: string, expr: Expr): Kernel | null;
  /**
   * Memory of unspecified content. A residence is for what lives long and is updated together: a backend may lay such
   * blocks side by side, and keep a state that only `adamwStep` asks for elsewhere meanwhile. Throws an InputError when the
   * backend has no more.
   */
  alloc(bytes: number, residence?: Residence | null): Block;
  free(block: Block): void;
  write(block: Block, byteOffset: number, bytes: Uint8Array): void;
  read(block: Block, byteOffset: number, byteLength: number): Promise<Uint8Array>;
  /** Strided copy of equal shapes with dtype conversion (a zero stride in `from` repeats). */
  copy(from: View, to: View): void;
  /** Host access for plain loops: the elements in row-major order as float64, and back. Absent where memory is remote. */
  readonly host?: {
    load(view: View): Float64Array;
    store(view: View, values: Float64Array): void;
    /** The block's memory itself from byteOffset on, valid until the next alloc. */
    array(block: Block, dtype: DType, byteOffset: number, length: number): TypedArray;
  };
  /** Compiles ahead, in parallel, the kernels that `fn` would start, and starts none: its results are garbage. */
  warm?(fn: () => void): Promise<void>;
  /**
   * Measures variants of the kernels that were used so far, and keeps the fastest, also for later runs; the number of
   * cases that were measured. Absent where there is nothing to choose.
   */
  tune?(log?: (line: string) => void): Promise<number>;
  /** Writes down what is started from now on. Absent where nothing is gained by replaying. */
  record?(): Recording;
  /** Begins to measure every kernel; null where that can't be done. */
  timeKernels?(): KernelTimer | null;
  /** Measures what the hardware does at best, in about a second. */
  ceilings?(): Promise<Ceilings>;
  /** Waits until everything started has finished. */
  sync(): Promise<void>;
  /** Ends workers and returns all memory. */
  dispose(): Promise<void>;
}
