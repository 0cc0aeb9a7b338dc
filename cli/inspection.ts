/** What `beit3 inspect` finds, of a model of any family. */

export interface TensorShape {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
}

/** Numbers of parameters. */
export interface Counts {
  readonly total: number;
  /** Those that the task computes with, and that are loaded for it. */
  readonly used: number;
  /** All of them by where they belong. */
  readonly branches: Readonly<Record<string, number>>;
}

export interface Inspection {
  readonly model?: string;
  readonly file?: string;
  readonly format?: string;
  /** Null, as the task and the config, where the file is no model that we know. */
  readonly family: string | null;
  readonly task: string | null;
  readonly numClasses?: number;
  readonly config: object | null;
  readonly parameters: Counts | null;
  /** Values by element type. */
  readonly dtypes: Record<string, { tensors: number; values: number }>;
  /** Tensors that the task does not use. */
  readonly unused?: readonly string[];
  /** Why it is no model that we know, or does not fit the one that it seems to be. */
  readonly problem?: string;
  readonly tensors: readonly TensorShape[];
}

function sizeOf({ shape }: TensorShape): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** `branchOf` tells where a parameter belongs by its name. */
export function countParameters(
  tensors: readonly TensorShape[],
  used: ReadonlySet<string>,
  branchOf: (name: string) => string,
): Counts {
  const branches: Record<string, number> = {};
  let total = 0;
  let usedCount = 0;
  for (const tensor of tensors) {
    const size = sizeOf(tensor);
    total += size;
    if (used.has(tensor.name)) usedCount += size;
    const branch = branchOf(tensor.name);
    branches[branch] = (branches[branch] ?? 0) + size;
  }
  return { total, used: usedCount, branches };
}

export function byDType(tensors: readonly TensorShape[]): Record<string, { tensors: number; values: number }> {
  const out: Record<string, { tensors: number; values: number }> = {};
  for (const tensor of tensors) {
    const row = (out[tensor.dtype] ??= { tensors: 0, values: 0 });
    row.tensors++;
    row.values += sizeOf(tensor);
  }
  return out;
}
