/** Strided operands over one shape: fewest axes, and the WGSL that finds an element. */
import { broadcastStrides, type Layout } from '../../../core/layout.js';

/** A shape without needless axes, and for each operand its strides. */
export interface Space {
  readonly shape: readonly number[];
  readonly strides: readonly (readonly number[])[];
}

/** Drops axes of size 1 and joins neighbours that every operand steps through evenly; operands broadcast to `shape`. */
export function collapse(shape: readonly number[], operands: readonly Layout[]): Space {
  const all = operands.map((x) => broadcastStrides(x, shape));
  const sizes: number[] = [];
  const strides: number[][] = operands.map(() => []);
  for (let axis = 0; axis < shape.length; axis++) {
    if (shape[axis] === 1) continue;
    const last = sizes.length - 1;
    const joins = last >= 0 && all.every((s, k) => strides[k][last] === s[axis] * shape[axis]);
    if (joins) {
      sizes[last] *= shape[axis];
      all.forEach((s, k) => {
        strides[k][last] = s[axis];
      });
    } else {
      sizes.push(shape[axis]);
      all.forEach((s, k) => {
        strides[k].push(s[axis]);
      });
    }
  }
  return { shape: sizes, strides };
}

/** Names of scalars of an operand in `indexCode`. */
const strideName = (operand: string, axis: number): string => `${operand}_s${axis}`;

/** The scalars that `indexCode` reads: sizes of all axes but the first, and the strides of each operand. */
export function indexFields(rank: number, operands: readonly string[]): Record<string, 'u32'> {
  const fields: Record<string, 'u32'> = {};
  for (let axis = 1; axis < rank; axis++) fields[`d${axis}`] = 'u32';
  for (const name of operands) for (let axis = 0; axis < rank; axis++) fields[strideName(name, axis)] = 'u32';
  return fields;
}

/** Their values. */
export function indexValues({ shape, strides }: Space, operands: readonly string[]): Record<string, number> {
  const values: Record<string, number> = {};
  for (let axis = 1; axis < shape.length; axis++) values[`d${axis}`] = shape[axis];
  operands.forEach((name, k) => {
    for (let axis = 0; axis < shape.length; axis++) values[strideName(name, axis)] = strides[k][axis];
  });
  return values;
}

/**
 * Statements that set `i_<operand>` to the index of row-major element `i` in each operand's array (offset included).
 * Negative strides wrap, as u32 sums do.
 */
export function indexCode(rank: number, operands: readonly string[], at = (name: string) => `p.${name}At`): string {
  const lines = operands.map((name) => `var i_${name} = ${at(name)};`);
  if (rank > 1) lines.push('var rest = i;');
  for (let axis = rank - 1; axis >= 0; axis--) {
    const coordinate = axis === 0 ? (rank > 1 ? 'rest' : 'i') : `c${axis}`;
    if (axis > 0) lines.push(`let c${axis} = rest % p.d${axis}; rest = rest / p.d${axis};`);
    for (const name of operands) lines.push(`i_${name} += ${coordinate} * p.${strideName(name, axis)};`);
  }
  return lines.join('\n  ');
}
