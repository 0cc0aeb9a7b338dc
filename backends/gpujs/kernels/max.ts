/** The largest element along an axis and where it is. */
import type { Kernel, View } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import type { AxisAttrs } from '../../../core/ops/max.js';
import { MOST_AXES } from '../builtins.js';
import type { Program } from '../engine.js';
import { collapse, positionCall, positionNumbers, positionParameters } from '../layouts.js';
import { LINE_MAXIMUM, LINE_PLACE } from '../lines.js';
import { type Machine, Programs, place } from '../machine.js';

const programs = new Programs();

function program(rank: number, isPlace: boolean): Program {
  const line = isPlace ? LINE_PLACE : LINE_MAXIMUM;
  return {
    functions: [line],
    parameters: [['a', 'array'], ...positionParameters('a', rank), ['count', 'integer'], ['step', 'integer']],
    body: `return ${line.name}(a, ${positionCall('a', rank, 'this.thread.x')}, count, step);`,
  };
}

export function max(machine: Machine): Kernel {
  const { engine, memory } = machine;
  return {
    strided: true,
    plan(inputs, attrs, [output]) {
      const x = inputs[0] as View;
      const { axis } = attrs as AxisAttrs;
      const size = sizeOf(output.shape);
      if (x.dtype !== 'float32') return null;
      if (size === 0) return () => {};
      const loop = collapse(x.shape.toSpliced(axis, 1), [x.strides.toSpliced(axis, 1)]);
      const rank = loop.shape.length;
      const arrays = rank > MOST_AXES ? null : place(machine, [x]);
      if (arrays === null) return null;
      const values = [arrays[0], ...positionNumbers(loop, 0, x.offset), x.shape[axis], x.strides[axis]];
      const made = [false, true].map((isPlace) => programs.get(`${rank} ${isPlace}`, () => program(rank, isPlace)));
      return (outputs) => {
        outputs.forEach((out, k) => {
          memory.adopt(out, engine.run(made[k], values, size));
        });
      };
    },
  };
}
