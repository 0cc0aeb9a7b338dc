/** Arrays joined along an axis, where they lie. */
import type { Kernel, View } from '../../../core/backend.js';
import { bytesOf } from '../../../core/dtype.js';
import { sizeOf } from '../../../core/layout.js';
import { ARRAY, INTEGER, NUMBER, type Program, script } from '../engine.js';
import { type Machine, Programs, place } from '../machine.js';

/** Arrays that a program joins. */
const MOST = 8;

const programs = new Programs();

/** A program for `count` arrays: each has a position of its first element and a number of elements in a row of the result. */
function program(count: number): Program {
  const each = Array.from({ length: count }, (_, k) => k);
  const arrays = each.map((k) => `a${k}`);
  const numbers = each.flatMap((k) => [`first${k}`, `length${k}`]);
  let before = '0';
  const lines = each.map((k) => {
    const from = before;
    before = `${before} + length${k}`;
    const value = `read(a${k}, first${k} + row * length${k} + column - (${from}))`;
    return k === count - 1 ? `return ${value};` : `if (column < ${before}) { return ${value}; }`;
  });
  return {
    functions: [
      script(
        'joined',
        [
          ['row', INTEGER],
          ['column', INTEGER],
          ...arrays.map((n) => [n, ARRAY] as const),
          ...numbers.map((n) => [n, INTEGER] as const),
        ],
        NUMBER,
        lines.join(' '),
      ),
    ],
    parameters: [
      ...arrays.map((n) => [n, 'array'] as const),
      ...numbers.map((n) => [n, 'integer'] as const),
      ['width', 'integer'],
    ],
    body: `return joined(quotient(this.thread.x, width), this.thread.x - quotient(this.thread.x, width) * width,
      ${[...arrays, ...numbers].join(', ')});`,
  };
}

export function cat(machine: Machine): Kernel {
  const { engine, memory } = machine;
  return {
    plan(inputs, attrs, [output]) {
      const { axis } = attrs as { readonly axis: number };
      const size = sizeOf(output.shape);
      if (size === 0) return () => {};
      const views = (inputs as readonly View[]).filter((v) => sizeOf(v.shape) > 0);
      const lengths = views.map((v) => sizeOf(v.shape.slice(axis)));
      const width = lengths.reduce((a, b) => a + b, 0);
      const movable = output.dtype === 'float32' || output.dtype === 'bool';
      const isThere = movable && views.length <= MOST && views.some((v) => memory.isOnDevice(v.block));
      const arrays = isThere ? place(machine, views) : null;
      if (arrays !== null) {
        const numbers = views.flatMap((v, k) => [v.offset, lengths[k]]);
        const made = programs.get(String(views.length), () => program(views.length));
        return ([out]) => memory.adopt(out, engine.run(made, [...arrays, ...numbers, width], size));
      }
      return ([out]) => {
        const each = bytesOf(output.dtype);
        const target = new Uint8Array(memory.bytesToWrite(out.block));
        let column = 0;
        views.forEach((v, k) => {
          const source = new Uint8Array(memory.bytes(v.block), v.offset * each);
          const row = lengths[k] * each;
          for (let r = 0; r < size / width; r++)
            target.set(source.subarray(r * row, (r + 1) * row), r * width * each + column);
          column += row;
        });
      };
    },
  };
}
