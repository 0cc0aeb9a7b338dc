/** Ops that only place elements: fill, cat, pad. */
import type { Kernel, View } from '../../../core/backend.js';
import { bytesOf, type DType, toBfloat, toHalf, typedArray } from '../../../core/dtype.js';
import { contiguousStrides } from '../../../core/layout.js';
import { copy } from '../copy.js';
import type { Runtime } from '../runtime.js';
import { count } from './views.js';

/** The element that a value is in memory. */
function encode(dtype: DType, value: number): number {
  if (dtype === 'float16') return toHalf(value);
  if (dtype === 'bfloat16') return toBfloat(value);
  return dtype === 'bool' ? Number(value !== 0) : value;
}

function fillView(rt: Runtime, y: View, value: number): void {
  typedArray(y.dtype, rt.heap.memory.buffer, rt.address(y), count(y.shape)).fill(encode(y.dtype, value));
}

export function fill(rt: Runtime): Kernel {
  return {
    plan(_, attrs) {
      const { value } = attrs as { readonly value: number };
      return ([y]) => fillView(rt, y, value);
    },
  };
}

export function cat(rt: Runtime): Kernel {
  return {
    strided: true,
    plan(inputs, attrs, [output]) {
      const { axis } = attrs as { readonly axis: number };
      const strides = contiguousStrides(output.shape);
      return ([y]) => {
        let start = 0;
        for (const x of inputs as readonly View[]) {
          copy(rt, x, { ...y, shape: x.shape, strides, offset: y.offset + start * strides[axis] });
          start += x.shape[axis];
        }
      };
    },
  };
}

export function pad(rt: Runtime): Kernel {
  return {
    strided: true,
    plan(inputs, attrs) {
      const [x] = inputs as [View];
      const { shape, starts, steps } = attrs as Record<'shape' | 'starts' | 'steps', readonly number[]>;
      const strides = contiguousStrides(shape);
      return ([y]) => {
        if (count(x.shape) < count(shape)) {
          const address = rt.address(y);
          rt.heap.u8.fill(0, address, address + count(shape) * bytesOf(y.dtype));
        }
        copy(rt, x, {
          ...y,
          shape: x.shape,
          strides: strides.map((s, i) => s * steps[i]),
          offset: y.offset + starts.reduce((n, s, i) => n + s * strides[i], 0),
        });
      };
    },
  };
}
