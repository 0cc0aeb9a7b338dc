/** Tensors without operands: one value everywhere, and even steps. */
import type { Kernel } from '../../../core/backend.js';
import { map } from '../elementwise.js';
import type { Runtime } from '../runtime.js';
import { isInteger } from '../wgsl/access.js';

export function fill(rt: Runtime): Kernel {
  return {
    plan(_, attrs, [result]) {
      const { value } = attrs as { readonly value: number };
      const domain = isInteger(result.dtype) && Number.isInteger(value) ? 'i32' : 'f32';
      const code = `fn compute() -> ${domain} { return p.value; }`;
      return ([y]) => map(rt, { key: 'fill', domain, code, fields: { value: domain }, scalars: { value } }, [], y);
    },
  };
}
