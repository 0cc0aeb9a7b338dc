/** Strided copies with dtype conversion. */
import type { View } from '../../core/backend.js';
import { bytesOf, type DType } from '../../core/dtype.js';
import { isContiguous, sizeOf } from '../../core/layout.js';
import { type Domain, type LoopCode, runLoop } from './loops.js';
import type { Runtime } from './runtime.js';

const identity = (from: Domain, to: Domain): LoopCode => ({
  key: `copy:${from}${to}`,
  inputs: [from],
  output: to,
  compute: (_, [x]) => x,
  numbers: 0,
  cost: 0.3,
});

const domainOf = (dtype: DType): Domain =>
  dtype === 'float32' || dtype === 'float16' || dtype === 'bfloat16' ? 'float' : 'int';

const FLOAT = identity('float', 'float');
const INT = identity('int', 'int');

/** Whether elements of one dtype are also good ones of the other. */
const sameBits = (from: DType, to: DType): boolean => from === to || (from === 'bool' && to === 'uint8');

/** Copies `from` to `to` (equal shapes; `to` has no zero strides). */
export function copy(rt: Runtime, from: View, to: View): void {
  const size = sizeOf(to.shape);
  if (size === 0) return;
  if (!sameBits(from.dtype, to.dtype)) {
    const code = domainOf(from.dtype) === 'int' ? INT : FLOAT;
    must(runLoop(rt, code, [from], to, []));
    return;
  }
  const bytes = bytesOf(to.dtype);
  if (isContiguous(from) && isContiguous(to) && size * bytes < 1 << 20) {
    const start = rt.address(from);
    rt.heap.u8.copyWithin(rt.address(to), start, start + size * bytes);
    return;
  }
  const words = asWords(from, to);
  if (words) must(runLoop(rt, FLOAT, [words[0]], words[1], []));
  // Every 16-bit float goes through float32 and back unchanged.
  else must(runLoop(rt, domainOf(from.dtype) === 'int' ? INT : FLOAT, [from], to, []));
}

function must(ran: boolean): void {
  if (!ran) throw new RangeError('a copy of more axes than 13 is not supported');
}

/** The views with 32-bit elements, where elements of both lie together in whole words. */
function asWords(from: View, to: View): [View, View] | null {
  const bytes = bytesOf(to.dtype);
  if (bytes === 4) {
    return [
      { ...from, dtype: 'float32' },
      { ...to, dtype: 'float32' },
    ];
  }
  const per = 4 / bytes;
  const last = to.shape.length - 1;
  if (last < 0 || from.strides[last] !== 1 || to.strides[last] !== 1 || to.shape[last] % per !== 0) return null;
  for (const view of [from, to]) {
    if (view.offset % per !== 0) return null;
    if (view.strides.some((s, i) => i < last && view.shape[i] !== 1 && s % per !== 0)) return null;
  }
  const shape = to.shape.map((d, i) => (i === last ? d / per : d));
  const word = (view: View): View => ({
    ...view,
    dtype: 'float32',
    shape,
    offset: view.offset / per,
    strides: view.strides.map((s, i) => (i === last ? 1 : Math.trunc(s / per))),
  });
  return [word(from), word(to)];
}
