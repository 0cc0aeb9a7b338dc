/** Loops over strided operands, with as few axes as the strides allow. */
export interface Loop {
  readonly shape: readonly number[];
  /** Strides of each operand. */
  readonly strides: readonly (readonly number[])[];
}

/** The same loop without axes of size 1 and with neighbouring axes joined wherever all operands allow it; at least one axis. */
export function collapse(shape: readonly number[], strides: readonly (readonly number[])[]): Loop {
  const sizes: number[] = [];
  const steps: number[][] = strides.map(() => []);
  shape.forEach((size, axis) => {
    if (size === 1) return;
    const last = sizes.length - 1;
    if (last >= 0 && strides.every((s, k) => steps[k][last] === s[axis] * size)) {
      sizes[last] *= size;
      steps.forEach((s, k) => {
        s[last] = strides[k][axis];
      });
    } else {
      sizes.push(size);
      steps.forEach((s, k) => {
        s.push(strides[k][axis]);
      });
    }
  });
  if (sizes.length > 0) return { shape: sizes, strides: steps };
  return { shape: [1], strides: strides.map(() => [0]) };
}

/** The numbers that the builtin `at<rank>` takes after the index: offset, sizes from the second axis on, strides. */
export function positionNumbers(loop: Loop, operand: number, offset: number): number[] {
  return [offset, ...loop.shape.slice(1), ...loop.strides[operand]];
}

/** Parameters for these numbers, named after an operand. */
export function positionParameters(name: string, rank: number): (readonly [string, 'integer'])[] {
  const sizes = Array.from({ length: rank - 1 }, (_, k) => `${name}Size${k}`);
  const steps = Array.from({ length: rank }, (_, k) => `${name}Step${k}`);
  return [`${name}Start`, ...sizes, ...steps].map((p) => [p, 'integer'] as const);
}

/** The call that finds an operand's element for result element `index`. */
export function positionCall(name: string, rank: number, index: string): string {
  return `at${rank}(${[index, ...positionParameters(name, rank).map(([p]) => p)].join(', ')})`;
}
