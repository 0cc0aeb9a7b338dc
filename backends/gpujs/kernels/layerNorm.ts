/** Layer norm forward, with one set of parameters or two: mean and 1 / deviation of each row, then the result. */
import type { Kernel, View } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import type { LayerNormAttrs } from '../../../core/ops/layerNorm.js';
import type { SplitAttrs } from '../../../core/ops/multiwayLinearBackwardInput.js';
import type { Program } from '../engine.js';
import { LINE_SQUARES, LINE_SUM, ROWS, START } from '../lines.js';
import { type Machine, Programs, place } from '../machine.js';

const MEAN: Program = {
  functions: [LINE_SUM],
  parameters: ROWS,
  body: `return lineSum(a, ${START}) / count;`,
};
const RECIPROCAL: Program = {
  functions: [LINE_SQUARES],
  parameters: [...ROWS, ['means', 'array'], ['eps', 'number']],
  body: `return 1 / squareRoot(lineSquares(a, ${START}, read(means, this.thread.x)) / count + eps);`,
};

const programs = new Programs();
const ROW = 'quotient(this.thread.x, count)';
const COLUMN = `this.thread.x - ${ROW} * count`;

/** `names` are those of the weight and bias that there are; those of a second set end in B. */
function normal(names: readonly string[]): Program {
  const value = `(read(a, first + this.thread.x) - read(means, ${ROW})) * read(reciprocals, ${ROW})`;
  const result = (weight: string, bias: string): string => {
    const scaled = names.includes(weight) ? `${value} * read(${weight}, ${weight}Start + ${COLUMN})` : value;
    return `return ${names.includes(bias) ? `${scaled} + read(${bias}, ${bias}Start + ${COLUMN})` : scaled};`;
  };
  const isFirst = 'this.thread.x - quotient(this.thread.x, period) * period < limit';
  const hasTwo = names.includes('weightB');
  return {
    parameters: [
      ...ROWS,
      ['means', 'array'],
      ['reciprocals', 'array'],
      ['period', 'integer'],
      ['limit', 'integer'],
      ...names.flatMap((name) => [[name, 'array'] as const, [`${name}Start`, 'integer'] as const]),
    ],
    body: hasTwo
      ? `if (${isFirst}) { ${result('weight', 'bias')} } ${result('weightB', 'biasB')}`
      : result('weight', 'bias'),
  };
}

const NAMES = ['weight', 'bias', 'weightB', 'biasB'];

/** For the inputs x, weight, bias, and with a `split` also the weight and bias of the rows from it on. */
function kernel(machine: Machine): Kernel {
  const { engine, memory } = machine;
  return {
    plan(inputs, attrs, outputs) {
      const [x, ...parameters] = inputs as [View, ...(View | null)[]];
      if (outputs.some((o) => o.dtype !== 'float32') || sizeOf(x.shape) === 0) return null;
      const views = parameters.filter((v) => v !== null);
      const names = NAMES.filter((_, k) => parameters[k]);
      const arrays = place(machine, [x, ...views]);
      if (arrays === null) return null;
      const [a, ...more] = arrays;
      const count = x.shape[x.shape.length - 1];
      const size = sizeOf(x.shape);
      const rows = size / count;
      const { eps, split = 0 } = attrs as LayerNormAttrs & Partial<SplitAttrs>;
      const row = [a, x.offset, count];
      const program = programs.get(names.join(), () => normal(names));
      return ([y, mean, reciprocal]) => {
        const means = engine.run(MEAN, row, rows);
        memory.adopt(mean, means);
        const reciprocals = engine.run(RECIPROCAL, [...row, means, eps], rows);
        memory.adopt(reciprocal, reciprocals);
        const period = x.shape.length > 1 ? x.shape[x.shape.length - 2] * count : count;
        const rest = views.flatMap((v, k) => [more[k], v.offset]);
        memory.adopt(y, engine.run(program, [...row, means, reciprocals, period, split * count, ...rest], size));
      };
    },
  };
}

export const layerNorm = (machine: Machine): Kernel => kernel(machine);
export const multiwayLayerNorm = (machine: Machine): Kernel => kernel(machine);
