/** Strided copies with dtype conversion: on the device where the elements are there, else on the host. */
import type { View } from '../../core/backend.js';
import { bytesOf } from '../../core/dtype.js';
import { isContiguous, sizeOf } from '../../core/layout.js';
import { MOST_AXES } from './builtins.js';
import type { Program } from './engine.js';
import { load, store } from './host.js';
import { collapse, positionCall, positionNumbers, positionParameters } from './layouts.js';
import { type Machine, Programs } from './machine.js';

/** Fewer elements are converted on the host. */
const MANY = 4096;

const programs = new Programs();

function program(rank: number, toBool: boolean): Program {
  const value = `read(a, ${positionCall('a', rank, 'this.thread.x')})`;
  return {
    parameters: [['a', 'array'], ...positionParameters('a', rank)],
    body: `return ${toBool ? `choose(${value}, 1, 0)` : value};`,
  };
}

export function copy(machine: Machine, from: View, to: View): void {
  if (sizeOf(to.shape) === 0) return;
  if (!copyOnDevice(machine, from, to)) {
    const { memory } = machine;
    const values = load(from, memory.bytes(from.block));
    store(to, memory.bytesToWrite(to.block), values);
  }
}

/** False where source or destination is not for the device. */
function copyOnDevice(machine: Machine, from: View, to: View): boolean {
  const { engine, memory } = machine;
  const size = sizeOf(to.shape);
  const fillsBlock = to.offset === 0 && isContiguous(to) && size * bytesOf(to.dtype) === to.block.bytes;
  // Weights of 16 bits are widened for every use: they stay on the device, as floats.
  const isHalf = from.dtype === 'float16' || from.dtype === 'bfloat16';
  const converts = to.dtype === 'float32' || to.dtype === 'bool' || (to.dtype === from.dtype && !isHalf);
  if (!fillsBlock || !converts) return false;
  if (!memory.isOnDevice(from.block) && !(isHalf && size >= MANY)) return false;
  const loop = collapse(to.shape, [from.strides]);
  const rank = loop.shape.length;
  if (rank > MOST_AXES || size > engine.mostElements) return false;
  const array = memory.device(from);
  if (array === null) return false;
  const toBool = to.dtype === 'bool' && from.dtype !== 'bool';
  const made = programs.get(`${rank} ${toBool}`, () => program(rank, toBool));
  memory.adopt(to, engine.run(made, [array, ...positionNumbers(loop, 0, from.offset)], size));
  return true;
}
