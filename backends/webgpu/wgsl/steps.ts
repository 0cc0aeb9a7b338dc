/** Positions of elements of a strided space by a number, for kernels that walk through two of them. */
import type { Space } from './indexing.js';

/** A space of one operand: what it is called in WGSL, its sizes and its strides. */
export interface Walk {
  readonly name: string;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

export const walkOf = (name: string, { shape, strides }: Space): Walk => ({ name, shape, strides: strides[0] });

/** The scalars that `stepCode` reads. */
export function stepFields({ name, shape }: Walk): Record<string, 'u32'> {
  const fields: Record<string, 'u32'> = {};
  shape.forEach((_, axis) => {
    if (axis > 0) fields[`${name}_d${axis}`] = 'u32';
    fields[`${name}_s${axis}`] = 'u32';
  });
  return fields;
}

/** Their values. */
export function stepValues({ name, shape, strides }: Walk): Record<string, number> {
  const values: Record<string, number> = {};
  shape.forEach((size, axis) => {
    if (axis > 0) values[`${name}_d${axis}`] = size;
    values[`${name}_s${axis}`] = strides[axis];
  });
  return values;
}

/** `fn <name>(i: u32) -> u32`: how far element i of the space, in row-major order, lies from the first. */
export function stepCode({ name, shape }: Walk): string {
  const rank = shape.length;
  const lines: string[] = [];
  for (let axis = rank - 1; axis > 0; axis--) {
    lines.push(`at += (rest % p.${name}_d${axis}) * p.${name}_s${axis}; rest = rest / p.${name}_d${axis};`);
  }
  if (rank > 0) lines.push(`at += rest * p.${name}_s0;`);
  return `fn ${name}(i: u32) -> u32 {
  var at = 0u;
  var rest = i;
  ${lines.join('\n  ')}
  return at;
}`;
}
