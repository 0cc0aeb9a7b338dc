/**
 * Scalar expressions: the meaning of an elementwise op, from which every backend derives its kernel.
 * Comparisons give 1 or 0. `maximum` and `minimum` propagate NaN.
 */
export type UnaryName = 'neg' | 'exp' | 'log' | 'sqrt' | 'abs' | 'erf' | 'tanh' | 'floor' | 'sin' | 'cos';
export type BinaryName = 'add' | 'sub' | 'mul' | 'div' | 'maximum' | 'minimum' | 'pow' | 'equal' | 'less' | 'lessEqual';

export type Expr =
  | { readonly kind: 'input'; readonly index: number }
  | { readonly kind: 'constant'; readonly value: number }
  /** A number among the op's attrs, read when the kernel is planned. */
  | { readonly kind: 'attr'; readonly name: string }
  | { readonly kind: 'unary'; readonly name: UnaryName; readonly x: Expr }
  | { readonly kind: 'binary'; readonly name: BinaryName; readonly x: Expr; readonly y: Expr }
  /** `yes` where `test` is not 0, else `no`; both sides may be evaluated. */
  | { readonly kind: 'select'; readonly test: Expr; readonly yes: Expr; readonly no: Expr };

type Operand = Expr | number;
const lift = (x: Operand): Expr => (typeof x === 'number' ? { kind: 'constant', value: x } : x);
const unary =
  (name: UnaryName) =>
  (x: Operand): Expr => ({ kind: 'unary', name, x: lift(x) });
const binary =
  (name: BinaryName) =>
  (x: Operand, y: Operand): Expr => ({ kind: 'binary', name, x: lift(x), y: lift(y) });

/** Builders. Equal subtrees that are the same object are evaluated once. */
export const E = {
  input: (index: number): Expr => ({ kind: 'input', index }),
  attr: (name: string): Expr => ({ kind: 'attr', name }),
  neg: unary('neg'),
  exp: unary('exp'),
  log: unary('log'),
  sqrt: unary('sqrt'),
  abs: unary('abs'),
  erf: unary('erf'),
  tanh: unary('tanh'),
  floor: unary('floor'),
  sin: unary('sin'),
  cos: unary('cos'),
  add: binary('add'),
  sub: binary('sub'),
  mul: binary('mul'),
  div: binary('div'),
  maximum: binary('maximum'),
  minimum: binary('minimum'),
  pow: binary('pow'),
  equal: binary('equal'),
  less: binary('less'),
  lessEqual: binary('lessEqual'),
  select: (test: Operand, yes: Operand, no: Operand): Expr => ({
    kind: 'select',
    test: lift(test),
    yes: lift(yes),
    no: lift(no),
  }),
};

const UNARY: Record<UnaryName, (x: number) => number> = {
  neg: (x) => -x,
  exp: Math.exp,
  log: Math.log,
  sqrt: Math.sqrt,
  abs: Math.abs,
  erf,
  tanh: Math.tanh,
  floor: Math.floor,
  sin: Math.sin,
  cos: Math.cos,
};

const BINARY: Record<BinaryName, (x: number, y: number) => number> = {
  add: (x, y) => x + y,
  sub: (x, y) => x - y,
  mul: (x, y) => x * y,
  div: (x, y) => x / y,
  maximum: Math.max,
  minimum: Math.min,
  pow: (x, y) => x ** y,
  equal: (x, y) => (x === y ? 1 : 0),
  less: (x, y) => (x < y ? 1 : 0),
  lessEqual: (x, y) => (x <= y ? 1 : 0),
};

/** A function that evaluates `expr` in float64 on one element of each input. */
export function evaluator(expr: Expr, attrs: object): (inputs: readonly number[]) => number {
  switch (expr.kind) {
    case 'input': {
      const i = expr.index;
      return (inputs) => inputs[i];
    }
    case 'constant': {
      const value = expr.value;
      return () => value;
    }
    case 'attr': {
      const value = attrOf(attrs, expr.name);
      return () => value;
    }
    case 'unary': {
      const f = UNARY[expr.name];
      const x = evaluator(expr.x, attrs);
      return (inputs) => f(x(inputs));
    }
    case 'binary': {
      const f = BINARY[expr.name];
      const x = evaluator(expr.x, attrs);
      const y = evaluator(expr.y, attrs);
      return (inputs) => f(x(inputs), y(inputs));
    }
    case 'select': {
      const test = evaluator(expr.test, attrs);
      const yes = evaluator(expr.yes, attrs);
      const no = evaluator(expr.no, attrs);
      return (inputs) => (test(inputs) !== 0 ? yes(inputs) : no(inputs));
    }
  }
}

/** The number that an `attr` node stands for. */
export function attrOf(attrs: object, name: string): number {
  const value = (attrs as Record<string, unknown>)[name];
  if (typeof value !== 'number') throw new TypeError(`expression attribute ${name} is not a number`);
  return value;
}

/**
 * Error function to float64 precision: Maclaurin series below 2, continued fraction of erfc above
 * (Abramowitz & Stegun 7.1.6 and 7.1.14).
 */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (Number.isNaN(a)) return Number.NaN;
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    // erf x = 2/sqrt(pi) e^(-x^2) sum 2^n x^(2n+1) / (1*3*...*(2n+1))
    let term = a;
    let sum = a;
    for (let n = 1; term > sum * 1e-17; n++) {
      term *= (2 * a * a) / (2 * n + 1);
      sum += term;
    }
    return Math.sign(x) * (2 / Math.sqrt(Math.PI)) * Math.exp(-a * a) * sum;
  }
  let f = a;
  for (let n = 60; n >= 1; n--) f = a + n / 2 / f;
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * f));
}
