/** act(x W^T + b) + residual in one program. */
import type { Kernel, View } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import { definedOps } from '../../../core/op.js';
import type { LinearAttrs } from '../../../core/ops/linear.js';
import { ARRAY, INTEGER, NUMBER, script } from '../engine.js';
import { scalarFunction } from '../expression.js';
import { type Machine, place } from '../machine.js';
import { type Ending, planProduct } from '../product.js';

/** gelu, as its op defines it. */
function geluScript() {
  const expr = definedOps().get('gelu')?.expr;
  return expr ? (scalarFunction('gelu', expr, 1)?.script ?? null) : null;
}

/** What follows the product: null for nothing; undefined where an operand cannot be on the device. */
function endingOf(
  machine: Machine,
  width: number,
  bias: View | null,
  residual: View | null,
  isGelu: boolean,
): Ending | null | undefined {
  if (!bias && !residual && !isGelu) return null;
  const gelu = isGelu ? geluScript() : null;
  if (isGelu && !gelu) return undefined;
  const arrays = place(
    machine,
    [bias, residual].filter((v) => v !== null),
  );
  if (arrays === null) return undefined;
  const parameters: [string, 'array' | 'integer'][] = [];
  const values: (number | (typeof arrays)[number])[] = [];
  let value = 'sum';
  if (bias) {
    parameters.push(['bias', 'array'], ['biasStart', 'integer'], ['width', 'integer']);
    values.push(arrays[0], bias.offset, width);
    value = `(${value} + read(bias, biasStart + position - quotient(position, width) * width))`;
  }
  if (gelu) value = `gelu(${value})`;
  if (residual) {
    parameters.push(['residual', 'array'], ['residualStart', 'integer']);
    values.push(arrays[arrays.length - 1], residual.offset);
    value = `${value} + read(residual, residualStart + position)`;
  }
  const finish = script(
    'finish',
    [
      ['sum', NUMBER],
      ['position', INTEGER],
      ...parameters.map(([name, type]) => [name, type === 'array' ? ARRAY : INTEGER] as const),
    ],
    NUMBER,
    `return ${value};`,
  );
  return {
    key: `linear ${bias !== null} ${isGelu} ${residual !== null}`,
    functions: gelu ? [gelu, finish] : [finish],
    parameters,
    values,
  };
}

export function linear(machine: Machine): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [x, w, bias, residual] = inputs as [View, View, View | null, View | null];
      const [output] = outputs;
      // With the slope as a second result: as a product and elementwise programs.
      if (outputs.length > 1 || output.dtype !== 'float32') return null;
      if (sizeOf(output.shape) === 0) return () => {};
      const [columns, inner] = w.shape;
      const isGelu = (attrs as LinearAttrs).activation === 'gelu';
      const ending = endingOf(machine, columns, bias, residual, isGelu);
      if (ending === undefined) return null;
      const rows = sizeOf(output.shape) / columns;
      const run = planProduct(
        machine,
        [rows, columns],
        inner,
        { view: x, strides: [inner, 0], step: 1 },
        { view: w, strides: [0, inner], step: 1 },
        ending,
      );
      return run && (([out]) => machine.memory.adopt(out, run()));
    },
  };
}
