/** act(x W^T + b) + residual in one program, with one set of parameters or two. */
import type { Kernel, View } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import { definedOps } from '../../../core/op.js';
import type { LinearAttrs } from '../../../core/ops/linear.js';
import type { MultiwayLinearAttrs } from '../../../core/ops/multiwayLinear.js';
import { ARRAY, type DeviceArray, INTEGER, NUMBER, type ParameterType, script } from '../engine.js';
import { scalarFunction } from '../expression.js';
import type { ScriptFunction } from '../library.js';
import { type Machine, place } from '../machine.js';
import { type Ending, type Other, planProduct } from '../product.js';

/** Weight and bias. */
interface Way {
  readonly weight: View;
  readonly bias: View | null;
}

/** gelu, as its op defines it. */
function geluScript(): ScriptFunction | null {
  const expr = definedOps().get('gelu')?.expr;
  return expr ? (scalarFunction('gelu', expr, 1)?.script ?? null) : null;
}

/** What follows the product: null for nothing; undefined where an operand cannot be on the device. */
function endingOf(
  machine: Machine,
  width: number,
  ways: readonly Way[],
  residual: View | null,
  isGelu: boolean,
): Ending | null | undefined {
  const gelu = isGelu ? geluScript() : null;
  if (isGelu && !gelu) return undefined;
  const parameters: [string, ParameterType][] = [];
  const values: (DeviceArray | number)[] = [];
  const add = (name: string, view: View): boolean => {
    const arrays = place(machine, [view]);
    if (arrays === null) return false;
    parameters.push([name, 'array'], [`${name}Start`, 'integer']);
    values.push(arrays[0], view.offset);
    return true;
  };
  const biases = ways.flatMap(({ bias }) => (bias ? [bias] : []));
  const common: string[] = [];
  let value = 'sum';
  if (biases.length > 0) {
    if (!biases.every((bias, k) => add(`bias${k}`, bias))) return undefined;
    value = `(${value} + read(bias, biasStart + position - quotient(position, width) * width))`;
  }
  if (gelu) value = `gelu(${value})`;
  if (residual) {
    if (!add('residual', residual)) return undefined;
    value = `${value} + read(residual, residualStart + position)`;
    common.push('residual', 'residualStart');
  }
  if (value === 'sum') return null;
  parameters.push(['width', 'integer']);
  values.push(width);
  common.push('width');
  const namesOf = (k: number) => (biases.length > 0 ? [`bias${k}`, `bias${k}Start`, ...common] : common);
  const typed = [...(biases.length > 0 ? ['bias', 'biasStart'] : []), ...common].map(
    (name) => [name, name === 'bias' || name === 'residual' ? ARRAY : INTEGER] as const,
  );
  const finish = script('finish', [['sum', NUMBER], ['position', INTEGER], ...typed], NUMBER, `return ${value};`);
  return {
    key: `linear ${biases.length} ${isGelu} ${residual !== null}`,
    functions: gelu ? [gelu, finish] : [finish],
    parameters,
    values,
    names: [namesOf(0), namesOf(1)],
  };
}

function planLinear(
  machine: Machine,
  x: View,
  ways: readonly Way[],
  residual: View | null,
  isGelu: boolean,
  split: number,
): (() => DeviceArray) | null {
  const [{ weight }] = ways;
  const [columns, inner] = weight.shape;
  const rows = sizeOf(x.shape) / inner;
  const ending = endingOf(machine, columns, ways, residual, isGelu);
  if (ending === undefined) return null;
  const other: Other | null =
    ways.length > 1 ? { view: ways[1].weight, period: x.shape[1] * columns, limit: split * columns } : null;
  return planProduct(
    machine,
    [rows, columns],
    inner,
    { view: x, strides: [inner, 0], step: 1 },
    { view: weight, strides: [0, inner], step: 1 },
    { ending, other },
  );
}

function kernel(machine: Machine, isMultiway: boolean): Kernel {
  return {
    plan(inputs, attrs, outputs) {
      const [x, weight, bias, ...rest] = inputs as [View, View, View | null, ...(View | null)[]];
      const ways: Way[] = [{ weight, bias }];
      if (isMultiway) ways.push({ weight: rest[0] as View, bias: rest[1] });
      const residual = rest[isMultiway ? 2 : 0];
      const [output] = outputs;
      // With the slope as a second result: as a product and elementwise programs.
      if (outputs.length > 1 || output.dtype !== 'float32') return null;
      if (sizeOf(output.shape) === 0) return () => {};
      if (sizeOf(x.shape) === 0) return null;
      const { activation } = attrs as LinearAttrs;
      const { split = 0 } = attrs as Partial<MultiwayLinearAttrs>;
      const run = planLinear(machine, x, ways, residual, activation === 'gelu', split);
      return run && (([out]) => machine.memory.adopt(out, run()));
    },
  };
}

export const linear = (machine: Machine): Kernel => kernel(machine, false);
export const multiwayLinear = (machine: Machine): Kernel => kernel(machine, true);
