/** A tensor written into zeros of a larger shape. */
import type { Kernel, View } from '../../../core/backend.js';
import { contiguousStrides, sizeOf } from '../../../core/layout.js';
import { MOST_GRID_AXES } from '../builtins.js';
import { ARRAY, INTEGER, NUMBER, type Program, script } from '../engine.js';
import { type Machine, Programs, place } from '../machine.js';

/** Along one axis: elements of the result, and those of the input from `start` on, every `step`-th. */
interface Axis {
  readonly size: number;
  readonly start: number;
  readonly step: number;
  readonly count: number;
}

interface PadAttrs {
  readonly shape: readonly number[];
  readonly starts: readonly number[];
  readonly steps: readonly number[];
}

/** Axes with those that are filled joined to the one before. */
function joined(input: readonly number[], { shape, starts, steps }: PadAttrs): Axis[] {
  const axes: Axis[] = [{ size: 1, start: 0, step: 1, count: 1 }];
  shape.forEach((size, i) => {
    const last = axes[axes.length - 1];
    const isFull = starts[i] === 0 && input[i] === size;
    if (isFull && last.step === 1) {
      axes[axes.length - 1] = { size: last.size * size, start: last.start * size, step: 1, count: last.count * size };
    } else if (last.size === 1) axes[axes.length - 1] = { size, start: starts[i], step: steps[i], count: input[i] };
    else axes.push({ size, start: starts[i], step: steps[i], count: input[i] });
  });
  return axes;
}

const programs = new Programs();

const ENTRY = script(
  'entry',
  [
    ['a', ARRAY],
    ['at', INTEGER],
  ],
  NUMBER,
  'if (at < 0) { return 0; } return read(a, at);',
);

function program(rank: number): Program {
  const numbers = Array.from({ length: 5 * rank }, (_, k) => `n${k}`);
  return {
    functions: [ENTRY],
    parameters: [['a', 'array'], ['first', 'integer'], ...numbers.map((n) => [n, 'integer'] as const)],
    body: `return entry(a, grid${rank}(this.thread.x, first, ${numbers.join(', ')}));`,
  };
}

export function pad(machine: Machine): Kernel {
  const { engine, memory } = machine;
  return {
    plan(inputs, attrs, [output]) {
      const x = inputs[0] as View;
      const size = sizeOf(output.shape);
      if (size === 0) return () => {};
      const axes = joined(x.shape, attrs as PadAttrs);
      const isFloat = output.dtype === 'float32' || output.dtype === 'bool';
      if (!isFloat || sizeOf(x.shape) === 0 || axes.length > MOST_GRID_AXES || size > engine.mostElements) return null;
      const arrays = place(machine, [x]);
      if (arrays === null) return null;
      const strides = contiguousStrides(axes.map(({ count }) => count));
      const numbers = axes.flatMap(({ size: n, start, step, count }, k) => [n, start, step, count, strides[k]]);
      const made = programs.get(String(axes.length), () => program(axes.length));
      return ([out]) => memory.adopt(out, engine.run(made, [arrays[0], x.offset, ...numbers], size));
    },
  };
}
