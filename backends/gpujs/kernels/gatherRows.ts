/** Rows of a table by their ids: from where the table lies, so that a table of words need not go to the device. */
import type { Kernel, View } from '../../../core/backend.js';
import { bytesOf } from '../../../core/dtype.js';
import { OpError } from '../../../core/errors.js';
import { sizeOf } from '../../../core/layout.js';
import { ARRAY, INTEGER, NUMBER, type Program, script } from '../engine.js';
import { load } from '../host.js';
import type { Machine } from '../machine.js';

const GATHER: Program = {
  functions: [
    script(
      'entry',
      [
        ['table', ARRAY],
        ['row', INTEGER],
        ['width', INTEGER],
        ['column', INTEGER],
      ],
      NUMBER,
      'return read(table, row * width + column);',
    ),
  ],
  parameters: [
    ['table', 'array'],
    ['first', 'integer'],
    ['width', 'integer'],
    ['ids', 'array'],
  ],
  body: `return entry(table, read(ids, quotient(this.thread.x, width)), width,
    first + this.thread.x - quotient(this.thread.x, width) * width);`,
};

export function gatherRows(machine: Machine): Kernel {
  const { engine, memory } = machine;
  return {
    plan(inputs, _, [output]) {
      const [table, ids] = inputs as [View, View];
      const rows = table.shape[0];
      const width = sizeOf(table.shape.slice(1));
      const wanted = load(ids, memory.bytes(ids.block));
      const wrong = wanted.find((id) => !(id >= 0 && id < rows));
      if (wrong !== undefined) throw new OpError('gatherRows', `expected ids from 0 to ${rows - 1}, got ${wrong}`);
      const size = sizeOf(output.shape);
      if (size === 0) return () => {};
      const array = table.dtype === 'float32' && memory.isOnDevice(table.block) ? memory.device(table) : null;
      if (array !== null && rows <= 2 ** 24) {
        return ([out]) => {
          const places = engine.upload(Float32Array.from(wanted));
          memory.adopt(out, engine.run(GATHER, [array, table.offset, width, places], size));
          places.free();
        };
      }
      return ([out]) => {
        const row = width * bytesOf(table.dtype);
        const source = new Uint8Array(memory.bytes(table.block), table.offset * bytesOf(table.dtype));
        const target = new Uint8Array(memory.bytesToWrite(out.block));
        wanted.forEach((id, i) => {
          target.set(source.subarray(id * row, (id + 1) * row), i * row);
        });
      };
    },
  };
}
