/** softmax and its logarithm along the last axis of a contiguous array. */
import type { Kernel, View } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import type { Program } from '../engine.js';
import { rowExponentials, rowMaxima } from '../lines.js';
import { type Machine, place } from '../machine.js';

const ROW = 'quotient(this.thread.x, count)';
const shifted = `read(a, first + this.thread.x) - read(shifts, ${ROW})`;

const over = (body: string): Program => ({
  parameters: [
    ['a', 'array'],
    ['first', 'integer'],
    ['count', 'integer'],
    ['shifts', 'array'],
    ['totals', 'array'],
  ],
  body,
});

const SOFTMAX = over(`return exponential(${shifted}) / read(totals, ${ROW});`);
const LOG_SOFTMAX = over(`return ${shifted} - logarithm(read(totals, ${ROW}));`);

function alongRows(machine: Machine, program: Program): Kernel {
  const { engine, memory } = machine;
  return {
    plan(inputs, _, [output]) {
      const x = inputs[0] as View;
      const size = sizeOf(output.shape);
      if (x.dtype !== 'float32' || output.shape.length === 0) return null;
      if (size === 0) return () => {};
      const arrays = place(machine, [x]);
      if (arrays === null) return null;
      const [a] = arrays;
      const count = x.shape[x.shape.length - 1];
      const rows = size / count;
      return ([out]) => {
        const shifts = rowMaxima(machine, a, x.offset, rows, count);
        const totals = rowExponentials(machine, a, x.offset, rows, count, shifts);
        memory.adopt(out, engine.run(program, [a, x.offset, count, shifts, totals], size));
        shifts.free();
        totals.free();
      };
    },
  };
}

export const softmax = (machine: Machine): Kernel => alongRows(machine, SOFTMAX);
export const logSoftmax = (machine: Machine): Kernel => alongRows(machine, LOG_SOFTMAX);
