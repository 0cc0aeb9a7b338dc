/** Kernels of scalar expressions. */
import type { Kernel, View } from '../../core/backend.js';
import { attrOf, type Expr } from '../../core/expr.js';
import { broadcastStrides, sizeOf } from '../../core/layout.js';
import { MOST_AXES } from './builtins.js';
import type { Program } from './engine.js';
import { scalarFunction } from './expression.js';
import { collapse, positionCall, positionNumbers, positionParameters } from './layouts.js';
import { type Machine, Programs, place } from './machine.js';

/** How many operands an expression has. */
function inputsOf(expr: Expr): number {
  switch (expr.kind) {
    case 'input':
      return expr.index + 1;
    case 'unary':
      return inputsOf(expr.x);
    case 'binary':
      return Math.max(inputsOf(expr.x), inputsOf(expr.y));
    case 'select':
      return Math.max(inputsOf(expr.test), inputsOf(expr.yes), inputsOf(expr.no));
    default:
      return 0;
  }
}

/** A kernel for an expression, or null where it has a function that we do not write. */
export function compileExpression(machine: Machine, expr: Expr): Kernel | null {
  const { engine, memory } = machine;
  const count = inputsOf(expr);
  const code = scalarFunction('scalar', expr, count);
  if (code === null || count === 0) return null;
  const programs = new Programs();
  const names = Array.from({ length: count }, (_, i) => `a${i}`);
  const numbers = code.attrs.map((_, i) => `c${i}`);
  const common = { functions: [code.script] };
  const arrays = names.map((n) => [n, 'array'] as const);
  const scalars = numbers.map((n) => [n, 'number'] as const);

  const strided = (rank: number, isBool: boolean): Program => {
    const values = names.map((n) => `read(${n}, ${positionCall(n, rank, 'this.thread.x')})`);
    const call = `scalar(${[...values, ...numbers].join(', ')})`;
    return {
      ...common,
      parameters: [...arrays, ...names.flatMap((n) => positionParameters(n, rank)), ...scalars],
      body: `return ${isBool ? `choose(${call}, 1, 0)` : call};`,
    };
  };
  const quads = (isBool: boolean): Program => {
    const lane = (k: number) => {
      const call = `scalar(${[...names.map((n) => `${n}Quad[${k}]`), ...numbers].join(', ')})`;
      return isBool ? `choose(${call}, 1, 0)` : call;
    };
    return {
      ...common,
      quads: true,
      parameters: [...arrays, ...names.map((n) => [`${n}Start`, 'integer'] as const), ...scalars],
      body: `${names.map((n) => `const ${n}Quad = ${n}[this.thread.x + ${n}Start];`).join(' ')}
        return [${[0, 1, 2, 3].map(lane).join(', ')}];`,
    };
  };

  return {
    strided: true,
    plan(inputs, attrs, [output]) {
      if (output.dtype !== 'float32' && output.dtype !== 'bool') return null;
      const size = sizeOf(output.shape);
      if (size === 0) return () => {};
      if (size > engine.mostElements) return null;
      const views = inputs as readonly View[];
      const loop = collapse(
        output.shape,
        views.map((v) => broadcastStrides(v, output.shape)),
      );
      const rank = loop.shape.length;
      if (rank > MOST_AXES) return null;
      const operands = place(machine, views);
      if (operands === null) return null;
      const isBool = output.dtype === 'bool';
      const values = code.attrs.map((name) => attrOf(attrs, name));
      const inOrder =
        engine.hasQuads &&
        rank === 1 &&
        (size === 1 || loop.strides.every(([step]) => step === 1)) &&
        views.every((v) => v.offset % 4 === 0);
      const program = programs.get(`${inOrder ? 'quads' : rank} ${isBool}`, () =>
        inOrder ? quads(isBool) : strided(rank, isBool),
      );
      const places = views.flatMap((v, k) => (inOrder ? [v.offset / 4] : positionNumbers(loop, k, v.offset)));
      return ([out]) => memory.adopt(out, engine.run(program, [...operands, ...places, ...values], size));
    },
  };
}
