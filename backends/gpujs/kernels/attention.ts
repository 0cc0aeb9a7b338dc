/** Attention without dropout: scores, their log-sum-exp, weights, and the sum of values. */
import type { Kernel, View } from '../../../core/backend.js';
import { broadcastStrides, contiguousStrides, sizeOf } from '../../../core/layout.js';
import type { AttentionAttrs } from '../../../core/ops/attentionBackward.js';
import { ARRAY, type DeviceArray, INTEGER, NUMBER, type ParameterType, type Program, script } from '../engine.js';
import { positionCall, positionNumbers, positionParameters } from '../layouts.js';
import { rowExponentials, rowMaxima } from '../lines.js';
import { type Machine, place } from '../machine.js';
import { type Ending, planProduct } from '../product.js';

/** scale s + bias, -Infinity at padding; null where a mask cannot be on the device. */
function masks(
  machine: Machine,
  shape: readonly number[],
  scale: number,
  padding: View | null,
  bias: View | null,
): Ending | null {
  const parameters: [string, ParameterType][] = [['scale', 'number']];
  const values: (DeviceArray | number)[] = [scale];
  let value = 'sum * scale';
  const add = (name: string, view: View, strides: readonly number[]): boolean => {
    const arrays = place(machine, [view]);
    if (arrays === null) return false;
    parameters.push(
      [name, 'array'],
      ...positionParameters(name, 4).map(([p, type]): [string, ParameterType] => [p, type]),
    );
    values.push(arrays[0], ...positionNumbers({ shape, strides: [strides] }, 0, view.offset));
    return true;
  };
  if (bias) {
    if (!add('bias', bias, broadcastStrides(bias, shape))) return null;
    value = `${value} + read(bias, ${positionCall('bias', 4, 'position')})`;
  }
  if (padding) {
    if (!add('padding', padding, [padding.strides[0], 0, 0, padding.strides[1]])) return null;
    value = `choose(read(padding, ${positionCall('padding', 4, 'position')}), -infinite(), ${value})`;
  }
  const types = { array: ARRAY, integer: INTEGER, number: NUMBER } as const;
  const typed = parameters.map(([name, type]) => [name, types[type]] as const);
  const names = parameters.map(([name]) => name);
  return {
    key: `attention ${padding !== null} ${bias !== null}`,
    functions: [script('finish', [['sum', NUMBER], ['position', INTEGER], ...typed], NUMBER, `return ${value};`)],
    parameters,
    values,
    names: [names, names],
  };
}

/** The log-sum-exp of rows; 0 for a row where everything is masked. */
const LOG_SUM: Program = {
  parameters: [
    ['shifts', 'array'],
    ['totals', 'array'],
  ],
  body: `const total = read(totals, this.thread.x);
    return read(shifts, this.thread.x) + logarithm(choose(isEqual(total, 0), 1, total));`,
};
const WEIGHTS: Program = {
  parameters: [
    ['a', 'array'],
    ['sums', 'array'],
    ['count', 'integer'],
  ],
  body: 'return exponential(read(a, this.thread.x) - read(sums, quotient(this.thread.x, count)));',
};

export function attention(machine: Machine): Kernel {
  const { engine, memory } = machine;
  return {
    strided: true,
    plan(inputs, attrs, outputs) {
      const [q, k, v, padding, bias] = inputs as [View, View, View, View | null, View | null];
      const { scale, dropout } = attrs as AttentionAttrs;
      if (dropout > 0 || outputs.some((o) => o.dtype !== 'float32')) return null;
      const [B, Lq, H, d] = q.shape;
      const Lk = k.shape[1];
      if (sizeOf(q.shape) === 0 || sizeOf(q.shape) > engine.mostElements) return null;
      const shape = [B, H, Lq, Lk];
      const ending = masks(machine, shape, scale, padding, bias);
      const products =
        ending &&
        planProduct(
          machine,
          shape,
          d,
          { view: q, strides: [q.strides[0], q.strides[2], q.strides[1], 0], step: q.strides[3] },
          { view: k, strides: [k.strides[0], k.strides[2], 0, k.strides[1]], step: k.strides[3] },
          { ending },
        );
      if (!products || place(machine, [v]) === null) return null;
      const rows = B * H * Lq;
      const weightStrides = contiguousStrides(shape);
      return ([out, lse]) => {
        const s = products();
        const shifts = rowMaxima(machine, s, 0, rows, Lk, true);
        const totals = rowExponentials(machine, s, 0, rows, Lk, shifts);
        const sums = engine.run(LOG_SUM, [shifts, totals], rows);
        memory.adopt(lse, sums);
        const weights = engine.run(WEIGHTS, [s, sums, Lk], rows * Lk);
        for (const array of [s, shifts, totals]) array.free();
        // As a block, so that products find it; it goes with the block.
        const block = memory.alloc(4 * rows * Lk);
        const p: View = { block, dtype: 'float32', shape, strides: weightStrides, offset: 0 };
        memory.adopt(p, weights);
        const sum = planProduct(
          machine,
          q.shape,
          Lk,
          { view: p, strides: [weightStrides[0], Lk, weightStrides[1], 0], step: 1 },
          { view: v, strides: [v.strides[0], 0, v.strides[2], v.strides[3]], step: v.strides[1] },
        );
        // All operands are on the device.
        memory.adopt(out, (sum as () => DeviceArray)());
        memory.free(block);
      };
    },
  };
}
