/** From the scalar expression of an op to a function in JavaScript that gpu.js translates. */
import type { BinaryName, Expr, UnaryName } from '../../core/expr.js';
import { NUMBER, script } from './engine.js';
import type { ScriptFunction } from './library.js';

const UNARY: Partial<Record<UnaryName, (x: string) => string>> = {
  neg: (x) => `(-${x})`,
  exp: (x) => `exponential(${x})`,
  log: (x) => `logarithm(${x})`,
  sqrt: (x) => `squareRoot(${x})`,
  abs: (x) => `Math.abs(${x})`,
  erf: (x) => `errorFunction(${x})`,
  tanh: (x) => `hyperbolicTangent(${x})`,
  floor: (x) => `Math.floor(${x})`,
};

const BINARY: Partial<Record<BinaryName, (x: string, y: string) => string>> = {
  add: (x, y) => `(${x} + ${y})`,
  sub: (x, y) => `(${x} - ${y})`,
  mul: (x, y) => `(${x} * ${y})`,
  div: (x, y) => `(${x} / ${y})`,
  maximum: (x, y) => `larger(${x}, ${y})`,
  minimum: (x, y) => `smaller(${x}, ${y})`,
  equal: (x, y) => `isEqual(${x}, ${y})`,
  less: (x, y) => `isLess(${x}, ${y})`,
  lessEqual: (x, y) => `isAtMost(${x}, ${y})`,
};

/** Exponents of `pow` that are a few multiplications. */
const POWERS: Readonly<Record<number, (x: string) => string>> = {
  [-1]: (x) => `(1 / ${x})`,
  1: (x) => x,
  2: (x) => `(${x} * ${x})`,
  3: (x) => `(${x} * ${x} * ${x})`,
  4: (x) => `((${x} * ${x}) * (${x} * ${x}))`,
};

/** A number as gpu.js understands it. */
function literal(value: number): string {
  if (Number.isNaN(value)) return 'notANumber()';
  if (!Number.isFinite(value)) return value > 0 ? 'infinite()' : '(-infinite())';
  return value < 0 || Object.is(value, -0) ? `(-${-value})` : `${value}`;
}

export interface ScalarFunction {
  readonly script: ScriptFunction;
  /** Names of the attrs that it takes after the inputs. */
  readonly attrs: readonly string[];
}

/** A function of `inputs` numbers and the attrs of the expression; null where a node cannot be translated. */
export function scalarFunction(name: string, expr: Expr, inputs: number): ScalarFunction | null {
  const lines: string[] = [];
  const attrs: string[] = [];
  const known = new Map<Expr, string | null>();

  const emit = (e: Expr): string | null => {
    const before = known.get(e);
    if (before !== undefined) return before;
    const text = textOf(e);
    let result = text;
    if (text !== null && e.kind !== 'input' && e.kind !== 'constant' && e.kind !== 'attr') {
      result = `t${lines.length}`;
      lines.push(`const ${result} = ${text};`);
    }
    known.set(e, result);
    return result;
  };
  const all = (nodes: readonly Expr[], write: (texts: readonly string[]) => string | null): string | null => {
    const texts = nodes.map(emit);
    return texts.every((t) => t !== null) ? write(texts as string[]) : null;
  };
  const textOf = (e: Expr): string | null => {
    switch (e.kind) {
      case 'input':
        return `x${e.index}`;
      case 'constant':
        return literal(e.value);
      case 'attr':
        if (!attrs.includes(e.name)) attrs.push(e.name);
        return `c${attrs.indexOf(e.name)}`;
      case 'unary': {
        const write = UNARY[e.name];
        return write ? all([e.x], ([x]) => write(x)) : null;
      }
      case 'binary': {
        if (e.name === 'pow') {
          const power = e.y.kind === 'constant' ? POWERS[e.y.value] : undefined;
          return power ? all([e.x], ([x]) => power(x)) : null;
        }
        const write = BINARY[e.name];
        return write ? all([e.x, e.y], ([x, y]) => write(x, y)) : null;
      }
      case 'select':
        return all([e.test, e.yes, e.no], ([test, yes, no]) => `choose(${test}, ${yes}, ${no})`);
    }
  };

  const result = emit(expr);
  if (result === null) return null;
  const parameters = [...Array.from({ length: inputs }, (_, i) => `x${i}`), ...attrs.map((_, i) => `c${i}`)].map(
    (p) => [p, NUMBER] as const,
  );
  return { script: script(name, parameters, NUMBER, `${lines.join(' ')} return ${result};`), attrs };
}
