/** Sums and products over axes. */
import type { Kernel, View } from '../../../core/backend.js';
import { type NumberFold, reduceNumbers } from '../reduce.js';
import type { Runtime } from '../runtime.js';
import { isInteger } from '../wgsl/access.js';

interface Attrs {
  readonly axes: readonly number[];
}

const folding = (rt: Runtime, foldOf: (whole: boolean) => NumberFold): Kernel => ({
  strided: true,
  plan(inputs, attrs) {
    const [x] = inputs as [View];
    return ([y]) => reduceNumbers(rt, foldOf(isInteger(y.dtype)), x, (attrs as Attrs).axes, y);
  },
});

export const sum = (rt: Runtime): Kernel =>
  folding(rt, (whole) => ({ key: 'sum', start: whole ? '0' : '0.0f', join: 'a + b' }));

export const prod = (rt: Runtime): Kernel =>
  folding(rt, (whole) => ({ key: 'prod', start: whole ? '1' : '1.0f', join: 'a * b' }));
