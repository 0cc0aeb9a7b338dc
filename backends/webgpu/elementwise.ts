/** Kernels of scalar expressions: the expression becomes a WGSL function, called for every element. */
import type { Kernel, View } from '../../core/backend.js';
import type { DType } from '../../core/dtype.js';
import { attrOf, type BinaryName, type Expr } from '../../core/expr.js';
import { isContiguous, sameShape, sizeOf } from '../../core/layout.js';
import type { GpuBlock } from './memory.js';
import { input, output } from './program.js';
import type { Runtime } from './runtime.js';
import {
  arrayType,
  type Domain,
  encoded,
  groupsFor,
  isInteger,
  isTrue,
  loader,
  MAIN,
  perWord,
  storeElements,
  THREADS,
} from './wgsl/access.js';
import { collapse, indexCode, indexFields, indexValues } from './wgsl/indexing.js';
import { literal, withMath } from './wgsl/math.js';

/** What an expression asks of its kernel. */
interface Needs {
  readonly inputs: number;
  readonly attrs: readonly string[];
  /** Whether integers can be computed as such. */
  readonly whole: boolean;
}

const INTEGER_OPS = new Set([
  'neg',
  'abs',
  'floor',
  'add',
  'sub',
  'mul',
  'maximum',
  'minimum',
  'equal',
  'less',
  'lessEqual',
]);

function analyse(expr: Expr): Needs {
  const seen = new Set<Expr>();
  const attrs = new Set<string>();
  let inputs = 0;
  let whole = true;
  const visit = (e: Expr): void => {
    if (seen.has(e)) return;
    seen.add(e);
    switch (e.kind) {
      case 'input':
        inputs = Math.max(inputs, e.index + 1);
        return;
      case 'constant':
        whole &&= Number.isInteger(e.value) && Math.abs(e.value) < 2 ** 31;
        return;
      case 'attr':
        attrs.add(e.name);
        return;
      case 'unary':
        whole &&= INTEGER_OPS.has(e.name);
        visit(e.x);
        return;
      case 'binary':
        whole &&= INTEGER_OPS.has(e.name);
        visit(e.x);
        visit(e.y);
        return;
      case 'select':
        visit(e.test);
        visit(e.yes);
        visit(e.no);
    }
  };
  visit(expr);
  return { inputs, attrs: [...attrs], whole };
}

/** `fn compute(v0: T, v1: T, ...) -> T`; nodes that are the same object are computed once. */
export function expressionCode(expr: Expr, inputs: number, domain: Domain): string {
  const lines: string[] = [];
  const names = new Map<Expr, string>();
  const number = (v: number) => (domain === 'f32' ? literal(v) : `${v}`);
  const truth = (test: string) => `select(${number(0)}, ${number(1)}, ${test})`;
  const [max, min] = domain === 'f32' ? ['max_', 'min_'] : ['max', 'min'];
  const binary: Record<BinaryName, (x: string, y: string) => string> = {
    add: (x, y) => `(${x} + ${y})`,
    sub: (x, y) => `(${x} - ${y})`,
    mul: (x, y) => `(${x} * ${y})`,
    div: (x, y) => `(${x} / ${y})`,
    maximum: (x, y) => `${max}(${x}, ${y})`,
    minimum: (x, y) => `${min}(${x}, ${y})`,
    pow: (x, y) => `pow_(${x}, ${y})`,
    equal: (x, y) => truth(`${x} == ${y}`),
    less: (x, y) => truth(`${x} < ${y}`),
    lessEqual: (x, y) => truth(`${x} <= ${y}`),
  };
  const make = (e: Expr): string => {
    switch (e.kind) {
      case 'input':
        return `v${e.index}`;
      case 'constant':
        return number(e.value);
      case 'attr':
        return `p.a_${e.name}`;
      case 'unary': {
        const x = visit(e.x);
        if (e.name === 'neg') return `(-${x})`;
        if (e.name === 'floor' && domain === 'i32') return x;
        return ['abs', 'sqrt', 'floor'].includes(e.name) ? `${e.name}(${x})` : `${e.name}_(${x})`;
      }
      case 'binary': {
        const x = visit(e.x);
        if (e.name === 'pow' && e.y.kind === 'constant' && e.y.value in POWERS) return POWERS[e.y.value](x);
        return binary[e.name](x, visit(e.y));
      }
      case 'select':
        return `select(${visit(e.no)}, ${visit(e.yes)}, ${isTrue(visit(e.test), domain)})`;
    }
  };
  const visit = (e: Expr): string => {
    if (e.kind === 'input' || e.kind === 'constant' || e.kind === 'attr') return make(e);
    let name = names.get(e);
    if (!name) {
      const code = make(e);
      name = `t${names.size}`;
      names.set(e, name);
      lines.push(`let ${name} = ${code};`);
    }
    return name;
  };
  const result = visit(expr);
  const parameters = Array.from({ length: inputs }, (_, i) => `v${i}: ${domain}`).join(', ');
  return `fn compute(${parameters}) -> ${domain} {\n  ${lines.join('\n  ')}\n  return ${result};\n}`;
}

/** Exponents of `pow` that are a few multiplications. */
const POWERS: Readonly<Record<number, (x: string) => string>> = {
  [-1]: (x) => `(1.0f / ${x})`,
  1: (x) => x,
  2: (x) => `(${x} * ${x})`,
  3: (x) => `(${x} * ${x} * ${x})`,
  4: (x) => `((${x} * ${x}) * (${x} * ${x}))`,
};

/** The kernel of an expression over operands of any dtype; `key` names it. */
export function compileExpression(rt: Runtime, key: string, expr: Expr): Kernel {
  const needs = analyse(expr);
  const codes = new Map<Domain, string>();
  const codeIn = (domain: Domain): string => {
    let code = codes.get(domain);
    if (code === undefined) {
      code = expressionCode(expr, needs.inputs, domain);
      codes.set(domain, code);
    }
    return code;
  };
  return {
    strided: true,
    plan(inputs, attrs, [result]) {
      const operands = inputs.slice(0, needs.inputs) as View[];
      const numbers = needs.attrs.map((name) => attrOf(attrs, name));
      const whole =
        needs.whole &&
        isInteger(result.dtype) &&
        operands.every((x) => isInteger(x.dtype)) &&
        numbers.every((v) => Number.isInteger(v));
      const domain: Domain = whole ? 'i32' : 'f32';
      const scalars = Object.fromEntries(needs.attrs.map((name, i) => [`a_${name}`, numbers[i]]));
      const fields: Record<string, Domain> = Object.fromEntries(
        needs.attrs.map((name) => [`a_${name}`, domain] as const),
      );
      return ([y]) => map(rt, { key, domain, code: codeIn(domain), fields, scalars }, operands, y);
    },
  };
}

/** A function of one element of each operand. */
export interface MapCode {
  /** Equal keys must mean equal code. */
  readonly key: string;
  readonly domain: Domain;
  /** WGSL of `fn compute(v0: domain, ...) -> domain`. */
  readonly code: string;
  readonly fields?: Readonly<Record<string, Domain>>;
  readonly scalars?: Readonly<Record<string, number>>;
}

/** Fills the contiguous `y` with a function of operands that broadcast to it. */
export function map(rt: Runtime, what: MapCode, operands: readonly View[], y: View): void {
  const n = sizeOf(y.shape);
  if (n === 0) return;
  const most = partOf(rt, operands, y);
  if (most < n) {
    for (let first = 0; first < n; first += most) {
      const part = (x: View): View => (isSingle(x) ? x : flat(x, first, Math.min(most, n - first)));
      map(rt, what, operands.map(part), part(y));
    }
  } else if (inFours(rt, operands, y)) mapFours(rt, what, operands, y, n);
  else mapEach(rt, what, operands, y, n);
}

/** Elements that one launch may do: fewer than all where a block is too large to be bound as one. */
function partOf(rt: Runtime, operands: readonly View[], y: View): number {
  const n = sizeOf(y.shape);
  const all = [...operands.filter((x) => !isSingle(x)), y];
  if (all.every(({ block }) => (block as GpuBlock).room <= rt.mostBound)) return n;
  const alike = all.every((x) => sameShape(x.shape, y.shape) && isContiguous(x));
  // Parts begin at multiples of 256 bytes of any dtype; the operands' own beginnings take some.
  return alike ? Math.floor((rt.mostBound - 512) / (4 * 256)) * 256 : n;
}

const flat = (x: View, first: number, length: number): View => ({
  ...x,
  shape: [length],
  strides: [1],
  offset: x.offset + first,
});

const namesOf = (operands: readonly View[]): string[] => operands.map((_, i) => `x${i}`);

/** A call that may get fewer operands than a call of `compute` names. */
const calling = (arguments_: readonly string[]): string => `compute(${arguments_.join(', ')})`;

/** Whether every operand lies like the result, four 32-bit elements at a time, or is one number. */
function inFours(rt: Runtime, operands: readonly View[], y: View): boolean {
  const { half } = rt.facts;
  return (
    perWord(y.dtype, half) === 1 &&
    operands.every(
      (x) =>
        isSingle(x) ||
        (perWord(x.dtype, half) === 1 && x.offset % 4 === 0 && sameShape(x.shape, y.shape) && isContiguous(x)),
    )
  );
}

const isSingle = (x: View): boolean => sizeOf(x.shape) === 1;

function mapFours(rt: Runtime, what: MapCode, operands: readonly View[], y: View, n: number): void {
  const { half } = rt.facts;
  const names = namesOf(operands);
  const single = operands.map(isSingle);
  const types = operands.map((x) => arrayType(x.dtype, half));
  const key = `map4:${what.key}:${what.domain}:${operands.map((x, i) => `${x.dtype}${single[i] ? '1' : ''}`)}:${y.dtype}`;
  const launch = rt.kernel(key, () => {
    const { domain } = what;
    const arrays = operands.map((_, i) => [names[i], input(single[i] ? types[i] : `vec4<${types[i]}>`)]);
    const loads = operands.map((_, i) =>
      single[i]
        ? `let w${i} = load_${names[i]}(p.${names[i]}At);`
        : `let w${i} = vec4<${domain}>(${names[i]}[(p.${names[i]}At >> 2u) + t]);`,
    );
    const parts = [0, 1, 2, 3].map((k) =>
      encoded(calling(operands.map((_, i) => (single[i] ? `w${i}` : `w${i}[${k}]`))), y.dtype, half, domain),
    );
    return {
      buffers: { ...Object.fromEntries(arrays), y: output(`vec4<${arrayType(y.dtype, half)}>`) },
      scalars: { n: 'u32', ...what.fields },
      enable: usesHalf([...operands, y], half),
      code: withMath(`${operands.map((x, i) => (single[i] ? loader(names[i], x.dtype, half, domain) : '')).join('\n')}
${what.code}
${MAIN}
  if (4u * t >= p.n) { return; }
  ${loads.join('\n  ')}
  y[t] = vec4<${arrayType(y.dtype, half)}>(${parts.join(', ')});
}`),
    };
  });
  const views = Object.fromEntries([...operands.map((x, i) => [names[i], x]), ['y', y]]);
  launch(views, { n, ...what.scalars }, Math.ceil(n / (4 * THREADS)));
}

function mapEach(rt: Runtime, what: MapCode, operands: readonly View[], y: View, n: number): void {
  const { half } = rt.facts;
  const names = namesOf(operands);
  const space = collapse(y.shape, operands);
  const rank = space.shape.length;
  const key = `map:${what.key}:${what.domain}:${operands.map((x) => x.dtype)}:${y.dtype}:${rank}`;
  const launch = rt.kernel(key, () => {
    const { domain } = what;
    const value = calling(names.map((name) => `load_${name}(i_${name})`));
    return {
      buffers: {
        ...Object.fromEntries(operands.map((x, i) => [names[i], input(arrayType(x.dtype, half))])),
        y: output(arrayType(y.dtype, half)),
      },
      scalars: { n: 'u32', ...indexFields(rank, names), ...what.fields },
      enable: usesHalf([...operands, y], half),
      code: withMath(`${operands.map((x, i) => loader(names[i], x.dtype, half, domain)).join('\n')}
${what.code}
fn element(i: u32) -> ${arrayType(y.dtype, half)} {
  ${indexCode(rank, names)}
  return ${encoded(value, y.dtype, half, domain)};
}
${MAIN}
  ${storeElements(y.dtype, half)}
}`),
    };
  });
  const views = Object.fromEntries([...operands.map((x, i) => [names[i], x]), ['y', y]]);
  launch(views, { n, ...indexValues(space, names), ...what.scalars }, groupsFor(n, y.dtype, half));
}

/** The WGSL extension for float16 arrays, where there are some. */
export const usesHalf = (views: readonly { readonly dtype: DType }[], half: boolean): string[] =>
  half && views.some((v) => v.dtype === 'float16') ? ['f16'] : [];
