/** Sums over axes: one group of axes after the other, long lines in two steps. */
import type { Kernel, View } from '../../../core/backend.js';
import { contiguousStrides, sizeOf } from '../../../core/layout.js';
import type { ReduceAttrs } from '../../../core/ops/sum.js';
import { MOST_AXES } from '../builtins.js';
import type { DeviceArray, Program } from '../engine.js';
import { collapse, positionCall, positionNumbers, positionParameters } from '../layouts.js';
import { LINE_SUM } from '../lines.js';
import { type Machine, Programs, place } from '../machine.js';

/** Longer lines are first summed in pieces, side by side. */
const LONG = 1024;

const programs = new Programs();

function program(rank: number): Program {
  const at = positionCall('a', rank, 'quotient(this.thread.x, pieces)');
  const piece = '(this.thread.x - quotient(this.thread.x, pieces) * pieces) * length';
  return {
    functions: [LINE_SUM],
    parameters: [
      ['a', 'array'],
      ...positionParameters('a', rank),
      ['count', 'integer'],
      ['step', 'integer'],
      ['pieces', 'integer'],
      ['length', 'integer'],
    ],
    body: `return lineSum(a, ${at} + ${piece} * step, Math.min(length, count - ${piece}), step);`,
  };
}

/** An array with axes that stay and axes that are summed over. */
interface Lines {
  readonly array: DeviceArray;
  readonly offset: number;
  readonly kept: readonly number[];
  readonly keptStrides: readonly number[];
  readonly summed: readonly number[];
  readonly summedStrides: readonly number[];
}

/** The sums, and whether they are in a new array. */
function reduce(machine: Machine, lines: Lines): DeviceArray {
  const { array, kept, keptStrides } = lines;
  const groups = collapse(lines.summed, [lines.summedStrides]);
  const last = groups.shape.length - 1;
  const count = groups.shape[last];
  const step = groups.strides[0][last];
  // The other groups stay for the next round.
  const shape = [...kept, ...groups.shape.slice(0, last)];
  const loop = collapse(shape, [[...keptStrides, ...groups.strides[0].slice(0, last)]]);
  const rank = loop.shape.length;
  const pieces = count > LONG ? Math.ceil(Math.sqrt(count)) : 1;
  const length = Math.ceil(count / pieces);
  const sums = machine.engine.run(
    programs.get(String(rank), () => program(rank)),
    [array, ...positionNumbers(loop, 0, lines.offset), count, step, Math.ceil(count / length), length],
    sizeOf(shape) * Math.ceil(count / length),
  );
  const rest = [...groups.shape.slice(0, last), Math.ceil(count / length)];
  if (rest.every((d) => d === 1)) return sums;
  const strides = contiguousStrides([...kept, ...rest]);
  try {
    return reduce(machine, {
      array: sums,
      offset: 0,
      kept,
      keptStrides: strides.slice(0, kept.length),
      summed: rest,
      summedStrides: strides.slice(kept.length),
    });
  } finally {
    sums.free();
  }
}

export function sum(machine: Machine): Kernel {
  return {
    strided: true,
    plan(inputs, attrs, [output]) {
      const x = inputs[0] as View;
      const { axes } = attrs as ReduceAttrs;
      if (output.dtype !== 'float32' || x.shape.length > MOST_AXES) return null;
      // New memory is zero.
      if (sizeOf(x.shape) === 0) return ([out]) => void machine.memory.bytesToWrite(out.block);
      const arrays = place(machine, [x]);
      if (arrays === null) return null;
      const stays = (_: number, i: number) => !axes.includes(i);
      const goes = (_: number, i: number) => axes.includes(i);
      return ([out]) =>
        machine.memory.adopt(
          out,
          reduce(machine, {
            array: arrays[0],
            offset: x.offset,
            kept: x.shape.filter(stays),
            keptStrides: x.strides.filter(stays),
            summed: x.shape.filter(goes),
            summedStrides: x.strides.filter(goes),
          }),
        );
    },
  };
}
