/** Arrays of one value and of steps: written on the host, from where they go to the device when they are used there. */
import type { Kernel } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import { store } from '../host.js';
import type { Machine } from '../machine.js';

function created(machine: Machine, valueFor: (attrs: object) => (i: number) => number): Kernel {
  return {
    plan(_, attrs) {
      const value = valueFor(attrs);
      return ([out]) => {
        const values = Float64Array.from({ length: sizeOf(out.shape) }, (_, i) => value(i));
        store(out, machine.memory.bytesToWrite(out.block), values);
      };
    },
  };
}

export const fill = (machine: Machine): Kernel =>
  created(machine, (attrs) => {
    const { value } = attrs as { readonly value: number };
    return () => value;
  });

export const iota = (machine: Machine): Kernel =>
  created(machine, (attrs) => {
    const { start, step } = attrs as { readonly start: number; readonly step: number };
    return (i) => start + i * step;
  });
