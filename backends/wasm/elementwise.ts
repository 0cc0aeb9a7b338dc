/** Kernels of scalar expressions: the expression becomes straight SIMD code in a loop over the operands. */
import type { Kernel, View } from '../../core/backend.js';
import { attrOf, type BinaryName, type Expr, type UnaryName } from '../../core/expr.js';
import { broadcastStrides } from '../../core/layout.js';
import { type FunctionBuilder, f32x4, type Local, type Value, v128 } from './assembler/index.js';
import { type LoopCode, runLoop } from './loops.js';
import { erf, exp, log, tanh } from './math.js';
import type { Runtime } from './runtime.js';

type Vector = Value<'v128'>;

const one = (mask: Vector): Vector => v128.and(mask, f32x4.splat(1));

/** Code and rough cost in nanoseconds an element; a missing entry means that there is no kernel. */
const UNARY: Partial<Record<UnaryName, { cost: number; emit(f: FunctionBuilder, x: Vector): Vector }>> = {
  neg: { cost: 0.1, emit: (_, x) => f32x4.neg(x) },
  exp: { cost: 1.5, emit: exp },
  log: { cost: 2, emit: log },
  sqrt: { cost: 0.5, emit: (_, x) => f32x4.sqrt(x) },
  abs: { cost: 0.1, emit: (_, x) => f32x4.abs(x) },
  erf: { cost: 2.5, emit: erf },
  tanh: { cost: 2.5, emit: tanh },
  floor: { cost: 0.1, emit: (_, x) => f32x4.floor(x) },
};

const BINARY: Partial<Record<BinaryName, { cost: number; emit(x: Vector, y: Vector): Vector }>> = {
  add: { cost: 0.1, emit: f32x4.add },
  sub: { cost: 0.1, emit: f32x4.sub },
  mul: { cost: 0.1, emit: f32x4.mul },
  div: { cost: 0.4, emit: f32x4.div },
  maximum: { cost: 0.3, emit: f32x4.max },
  minimum: { cost: 0.3, emit: f32x4.min },
  equal: { cost: 0.1, emit: (x, y) => one(f32x4.eq(x, y)) },
  less: { cost: 0.1, emit: (x, y) => one(f32x4.lt(x, y)) },
  lessEqual: { cost: 0.1, emit: (x, y) => one(f32x4.le(x, y)) },
};

/** Exponents of `pow` that are a few multiplications. */
const POWERS: Readonly<Record<number, (x: Local<'v128'>) => Vector>> = {
  [-1]: (x) => f32x4.div(f32x4.splat(1), x),
  1: (x) => x,
  2: (x) => f32x4.mul(x, x),
  3: (x) => f32x4.mul(f32x4.mul(x, x), x),
  4: (x) => f32x4.mul(f32x4.mul(x, x), f32x4.mul(x, x)),
};

interface Analysis {
  cost: number;
  inputs: number;
  readonly attrs: string[];
}

/** What an expression needs, or null where a node has no vector code. */
function analyse(expr: Expr): Analysis | null {
  const seen = new Set<Expr>();
  const result: Analysis = { cost: 0.15, inputs: 0, attrs: [] };
  const visit = (e: Expr): boolean => {
    if (seen.has(e)) return true;
    seen.add(e);
    switch (e.kind) {
      case 'input':
        result.inputs = Math.max(result.inputs, e.index + 1);
        return true;
      case 'constant':
        return true;
      case 'attr':
        if (!result.attrs.includes(e.name)) result.attrs.push(e.name);
        return true;
      case 'unary': {
        const known = UNARY[e.name];
        result.cost += known?.cost ?? 0;
        return known !== undefined && visit(e.x);
      }
      case 'binary': {
        if (e.name === 'pow') return e.y.kind === 'constant' && e.y.value in POWERS && visit(e.x);
        const known = BINARY[e.name];
        result.cost += known?.cost ?? 0;
        return known !== undefined && visit(e.x) && visit(e.y);
      }
      case 'select':
        result.cost += 0.2;
        return visit(e.test) && visit(e.yes) && visit(e.no);
    }
  };
  return visit(expr) ? result : null;
}

/** Emits the expression; nodes that are the same object are computed once. */
function emitter(
  f: FunctionBuilder,
  inputs: readonly Vector[],
  numbers: ReadonlyMap<string, Vector>,
): (e: Expr) => Vector {
  const done = new Map<Expr, Vector>();
  const make = (e: Expr): Vector => {
    switch (e.kind) {
      case 'input':
        return inputs[e.index];
      case 'constant':
        return f32x4.splat(e.value);
      case 'attr':
        return numbers.get(e.name) as Vector;
      case 'unary':
        return (UNARY[e.name] as { emit(f: FunctionBuilder, x: Vector): Vector }).emit(f, visit(e.x));
      case 'binary':
        if (e.name === 'pow') return POWERS[(e.y as { value: number }).value](f.let(visit(e.x)));
        return (BINARY[e.name] as { emit(x: Vector, y: Vector): Vector }).emit(visit(e.x), visit(e.y));
      case 'select': {
        const zero = f32x4.eq(visit(e.test), f32x4.splat(0));
        return v128.select(zero, visit(e.no), visit(e.yes));
      }
    }
  };
  const visit = (e: Expr): Vector => {
    if (e.kind === 'input' || e.kind === 'constant' || e.kind === 'attr') return make(e);
    let local = done.get(e);
    if (!local) {
      local = f.let(make(e));
      done.set(e, local);
    }
    return local;
  };
  return visit;
}

/** The kernel of an expression over float32, bool and uint8 operands with a float32 or bool result, or null. */
export function compileExpression(rt: Runtime, key: string, expr: Expr): Kernel | null {
  const needs = analyse(expr);
  if (!needs || needs.inputs > 7) return null;
  const code: LoopCode = {
    key,
    inputs: new Array<'float'>(needs.inputs).fill('float'),
    output: 'float',
    numbers: needs.attrs.length,
    cost: needs.cost,
    compute: (f, inputs, numbers) => emitter(f, inputs, new Map(needs.attrs.map((n, i) => [n, numbers[i]])))(expr),
  };
  return {
    strided: true,
    plan(inputs, attrs, [output]) {
      const { shape } = output;
      if (output.dtype !== 'float32' && output.dtype !== 'bool') return null;
      const operands: View[] = [];
      for (const x of inputs.slice(0, needs.inputs)) {
        if (!x || (x.dtype !== 'float32' && x.dtype !== 'bool' && x.dtype !== 'uint8')) return null;
        operands.push({ ...x, shape, strides: broadcastStrides(x, shape) });
      }
      const numbers = needs.attrs.map((name) => attrOf(attrs, name));
      return ([y]) => {
        if (!runLoop(rt, code, operands, y, numbers)) throw new RangeError(`[${key}] has too many axes`);
      };
    },
  };
}
