import { OpError } from './errors.js';

/** Where the elements of a tensor lie in its storage; strides and offset count elements. */
export interface Layout {
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly offset: number;
}

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  let n = 1;
  for (const d of shape) n *= d;
  return n;
}

/** Checks that a shape is a list of whole numbers, 0 or more. */
export function expectSizes(op: string, shape: readonly number[]): void {
  expectList(op, 'a shape such as [2, 3]', shape);
  if (!shape.every((d) => Number.isInteger(d) && d >= 0)) {
    throw new OpError(op, `expected whole sizes of 0 or more, got ${formatShape(shape)}`);
  }
}

/** Checks that `list`, which a program without types passed, is a list at all. */
export function expectList(op: string, what: string, list: unknown): void {
  if (!Array.isArray(list)) throw new OpError(op, `expected ${what}, got ${kindOf(list)}`);
}

/** What a value is, for messages: numbers themselves, else their kind. */
export function kindOf(value: unknown): string {
  if (typeof value === 'number' || value === undefined || value === null) return String(value);
  if (typeof value !== 'object') return `a ${typeof value}`;
  const name = value.constructor?.name ?? 'Object';
  return `${/^[AEIOU]/.test(name) ? 'an' : 'a'} ${name}`;
}

/** Whether two layouts of one storage, neither empty, may reach a common element at different places. */
export function mayOverlap(a: Layout, b: Layout): boolean {
  const last = ({ shape, strides, offset }: Layout) => shape.reduce((at, d, i) => at + (d - 1) * strides[i], offset);
  const same = a.offset === b.offset && a.shape.every((d, i) => d === 1 || a.strides[i] === b.strides[i]);
  return !same && a.offset <= last(b) && b.offset <= last(a);
}

/** Row-major strides. */
export function contiguousStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

/** Whether the elements lie in row-major order without gaps (axes of size 1 may have any stride). */
export function isContiguous(layout: Layout): boolean {
  let step = 1;
  for (let i = layout.shape.length - 1; i >= 0; i--) {
    const d = layout.shape[i];
    if (d === 0) return true;
    if (d !== 1 && layout.strides[i] !== step) return false;
    step *= d;
  }
  return true;
}

/** Calls `visit` with the position of every element of a layout, in row-major order; the first lies at `start`. */
export function forEachElement(layout: Layout, start: number, visit: (position: number) => void): void {
  const size = sizeOf(layout.shape);
  if (isContiguous(layout)) {
    for (let i = 0; i < size; i++) visit(start + i);
    return;
  }
  const { shape, strides } = layout;
  const index = new Array<number>(shape.length).fill(0);
  let position = start;
  for (let i = 0; i < size; i++) {
    visit(position);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      position += strides[axis];
      if (++index[axis] < shape[axis]) break;
      position -= strides[axis] * shape[axis];
      index[axis] = 0;
    }
  }
}

/**
 * Strides under which the elements of a layout, taken in row-major order, read as `shape` (of as many elements); null
 * where that needs a copy.
 */
export function viewStrides(layout: Layout, shape: readonly number[]): number[] | null {
  const { shape: old, strides } = layout;
  if (old.length === 0 || sizeOf(old) === 0) return contiguousStrides(shape);
  const out = new Array<number>(shape.length);
  let to = shape.length - 1;
  // A run of old axes that step through memory evenly is split freely among new axes.
  let base = strides[old.length - 1];
  let have = 1;
  let given = 1;
  for (let axis = old.length - 1; axis >= 0; axis--) {
    have *= old[axis];
    if (axis > 0 && (old[axis - 1] === 1 || strides[axis - 1] === have * base)) continue;
    for (; to >= 0 && (given < have || shape[to] === 1); to--) {
      out[to] = given * base;
      given *= shape[to];
    }
    if (given !== have) return null;
    base = axis > 0 ? strides[axis - 1] : 0;
    have = given = 1;
  }
  return out;
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i]);
}

/** The shape that numpy broadcasting gives. */
export function broadcastShapes(op: string, ...shapes: (readonly number[])[]): number[] {
  const rank = Math.max(0, ...shapes.map((s) => s.length));
  const out = new Array<number>(rank).fill(1);
  for (const shape of shapes) {
    for (let i = 0; i < shape.length; i++) {
      const at = rank - shape.length + i;
      if (shape[i] === 1) continue;
      if (out[at] !== 1 && out[at] !== shape[i]) {
        throw new OpError(
          op,
          `expected shapes that broadcast together, got ${shapes.map(formatShape).join(' and ')}; ` +
            'axes are matched from the last and must be equal or 1',
        );
      }
      out[at] = shape[i];
    }
  }
  return out;
}

/** Strides under which a layout of `shape` reads as the larger `target` shape. */
export function broadcastStrides(layout: Layout, target: readonly number[]): number[] {
  const lead = target.length - layout.shape.length;
  return target.map((_, i) => (i < lead || layout.shape[i - lead] === 1 ? 0 : layout.strides[i - lead]));
}

/** An axis counted from the front; negative axes count from the back. */
export function normalizeAxis(op: string, axis: number, rank: number): number {
  const a = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(a) || a < 0 || a >= rank) {
    throw new OpError(op, `expected an axis from ${-rank} to ${rank - 1}, got ${axis}`);
  }
  return a;
}

/** Axes counted from the front, sorted, without doubles; all axes when none are given. */
export function normalizeAxes(op: string, axes: number | readonly number[] | undefined, rank: number): number[] {
  if (axes === undefined) return Array.from({ length: rank }, (_, i) => i);
  if (typeof axes !== 'number') expectList(op, 'an axis or a list of axes', axes);
  const list = (typeof axes === 'number' ? [axes] : axes).map((a) => normalizeAxis(op, a, rank));
  return [...new Set(list)].sort((a, b) => a - b);
}

export function formatShape(shape: readonly number[]): string {
  return `[${shape.join(', ')}]`;
}
