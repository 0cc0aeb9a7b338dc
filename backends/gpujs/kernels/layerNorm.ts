/** Layer norm forward: mean and 1 / deviation of each row, then the result. */
import type { Kernel, View } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import type { LayerNormAttrs } from '../../../core/ops/layerNorm.js';
import type { Program } from '../engine.js';
import { LINE_SQUARES, LINE_SUM } from '../lines.js';
import { type Machine, Programs, place } from '../machine.js';

const ROWS = [
  ['a', 'array'],
  ['first', 'integer'],
  ['count', 'integer'],
] as const;
const START = 'first + this.thread.x * count, count, 1';

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

function normal(weight: boolean, bias: boolean): Program {
  const value = `(read(a, first + this.thread.x) - read(means, ${ROW})) * read(reciprocals, ${ROW})`;
  const scaled = weight ? `${value} * read(weight, weightStart + ${COLUMN})` : value;
  return {
    parameters: [
      ...ROWS,
      ['means', 'array'],
      ['reciprocals', 'array'],
      ...(weight
        ? ([
            ['weight', 'array'],
            ['weightStart', 'integer'],
          ] as const)
        : []),
      ...(bias
        ? ([
            ['bias', 'array'],
            ['biasStart', 'integer'],
          ] as const)
        : []),
    ],
    body: `return ${bias ? `${scaled} + read(bias, biasStart + ${COLUMN})` : scaled};`,
  };
}

export function layerNorm(machine: Machine): Kernel {
  const { engine, memory } = machine;
  return {
    plan(inputs, attrs, outputs) {
      const [x, weight, bias] = inputs as [View, View | null, View | null];
      if (outputs.some((o) => o.dtype !== 'float32') || sizeOf(x.shape) === 0) return null;
      const parameters = [weight, bias].filter((v) => v !== null);
      const arrays = place(machine, [x, ...parameters]);
      if (arrays === null) return null;
      const [a, ...more] = arrays;
      const count = x.shape[x.shape.length - 1];
      const size = sizeOf(x.shape);
      const rows = size / count;
      const { eps } = attrs as LayerNormAttrs;
      const row = [a, x.offset, count];
      const program = programs.get(`${weight !== null} ${bias !== null}`, () => normal(weight !== null, bias !== null));
      return ([y, mean, reciprocal]) => {
        const means = engine.run(MEAN, row, rows);
        memory.adopt(mean, means);
        const reciprocals = engine.run(RECIPROCAL, [...row, means, eps], rows);
        memory.adopt(reciprocal, reciprocals);
        const rest = parameters.flatMap((v, k) => [more[k], v.offset]);
        memory.adopt(y, engine.run(program, [...row, means, reciprocals, ...rest], size));
      };
    },
  };
}
