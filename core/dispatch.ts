/** From a call of an op to a backend: interceptors, then a kernel, a derived kernel, other ops, or a plain loop. */
import type { Attrs, Backend, Kernel, Spec, View } from './backend.js';
import { defaultBackend } from './device.js';
import type { DType } from './dtype.js';
import { OpError } from './errors.js';
import { type Expr, evaluator } from './expr.js';
import { broadcastStrides, isContiguous, kindOf, sizeOf } from './layout.js';
import { keep, scope } from './memory.js';
import { noGrad } from './modes.js';
import type { Flat, OpDefinition, Operand } from './op.js';
import { compact, empty, Tensor } from './tensor.js';
import { watching } from './watch.js';

export interface Call {
  readonly op: OpDefinition;
  readonly inputs: readonly Operand[];
  readonly attrs: Attrs;
}

type HostAccess = NonNullable<Backend['host']>;

export type Next = (call: Call) => Tensor[];
/** Wraps every call: may change it, skip it or look at the result. */
export type Interceptor = (call: Call, next: Next) => Tensor[];

/** The order in which interceptors see a call. */
export const ORDER = { autocast: 0, autograd: 1, copies: 2, capture: 3, profiler: 4 } as const;

const interceptors: { order: number; intercept: Interceptor }[] = [];
let chain: Next = execute;

/** Adds an interceptor; the returned function takes it out again. */
export function intercept(order: number, interceptor: Interceptor): () => void {
  const entry = { order, intercept: interceptor };
  interceptors.push(entry);
  interceptors.sort((a, b) => a.order - b.order);
  rebuild();
  return () => {
    const at = interceptors.indexOf(entry);
    // Twice is as once: -1 would take out another's.
    if (at >= 0) interceptors.splice(at, 1);
    rebuild();
  };
}

function rebuild(): void {
  chain = interceptors.reduceRight<Next>((next, entry) => (call) => entry.intercept(call, next), execute);
}

/** Calls an op. */
export function call<A extends Attrs>(op: OpDefinition<A>, inputs: readonly Operand[], attrs: A): Tensor[] {
  return chain({ op: op as unknown as OpDefinition, inputs, attrs });
}

/** Calls an op that has one output. */
export function call1<A extends Attrs>(op: OpDefinition<A>, inputs: readonly Operand[], attrs: A): Tensor {
  return call(op, inputs, attrs)[0];
}

function backendOf(op: OpDefinition, inputs: readonly Operand[]): Backend {
  let backend: Backend | null = null;
  for (const x of inputs) {
    if (x === null) continue;
    if (backend === null) backend = x.backend;
    else if (backend !== x.backend) {
      throw new OpError(op.name, `expected operands on one backend, got ${backend.name} and ${x.backend.name}`);
    }
  }
  return backend ?? defaultBackend();
}

/** Runs a call on its backend; nothing is recorded. */
export function execute({ op, inputs, attrs }: Call): Tensor[] {
  for (const x of inputs) {
    // What a program without types may pass.
    if (x && !(x instanceof Tensor)) throw new OpError(op.name, `expected tensors as operands, got ${kindOf(x)}`);
  }
  const specs = op.infer(inputs, attrs);
  if (op.mutates) for (const i of op.mutates(attrs)) inputs[i]?.storage.change();
  if (op.view) {
    const x = inputs[0] as Tensor;
    x.view();
    return [new Tensor(x.storage, x.dtype, op.view(x, attrs))];
  }
  const backend = backendOf(op, inputs);
  const stored = backend.caps.storageOnly;
  if (!op.moves && inputs.some((x) => x !== null && stored.has(x.dtype))) {
    return executeWidened({ op, inputs, attrs }, specs, backend);
  }
  const kernel = backend.kernels.get(op.name) ?? (op.expr ? backend.compile(op.name, op.expr) : null);
  if (kernel) {
    const outputs = runKernel(kernel, inputs, attrs, specs, backend);
    if (outputs) return outputs;
  }
  const { decompose } = op;
  if (decompose) {
    // Owned by the surrounding scope, like the outputs of any other call.
    return scope(() => noGrad(() => [...decompose(inputs, attrs)].map((t) => (inputs.includes(t) ? t.detach() : t))));
  }
  return runLoop(op, inputs, attrs, specs, backend);
}

/** New outputs, filled by one launch; freed when that throws. */
function allocate(specs: readonly Spec[], backend: Backend, fill: (outputs: readonly Tensor[]) => void): Tensor[] {
  const outputs: Tensor[] = [];
  const { stats } = backend;
  const before = stats.launches;
  try {
    for (const s of specs) outputs.push(empty(s.shape, s.dtype, backend));
    fill(outputs);
  } catch (error) {
    for (const t of outputs) t.dispose();
    throw error;
  }
  if (stats.launches === before) stats.launches++;
  return outputs;
}

function runKernel(
  kernel: Kernel,
  inputs: readonly Operand[],
  attrs: Attrs,
  specs: readonly Spec[],
  backend: Backend,
): Tensor[] | null {
  const temporary: Tensor[] = [];
  try {
    const views = inputs.map((x) => {
      if (x === null) return null;
      if (kernel.strided || isContiguous(x)) return x.view();
      const copy = compact(x);
      temporary.push(copy);
      return copy.view();
    });
    const run = kernel.plan(views, attrs, specs);
    if (run === null) return null;
    return allocate(specs, backend, (made) => {
      const outputs = made.map((t) => t.view());
      const watcher = watching();
      if (watcher) watcher.kernel({ kernel, inputs: views, attrs, specs, outputs }, () => run(outputs));
      else run(outputs);
    });
  } finally {
    for (const t of temporary) t.dispose();
  }
}

/** Operands that a backend only stores are computed in float32; results go back to the inferred dtype. */
function executeWidened(call: Call, specs: readonly Spec[], backend: Backend): Tensor[] {
  const temporary: Tensor[] = [];
  const convert = (x: Tensor, dtype: DType): Tensor => {
    const out = empty(x.shape, dtype, backend);
    backend.copy(x.view(), out.view());
    return out;
  };
  try {
    const inputs = call.inputs.map((x) => {
      if (x === null || !backend.caps.storageOnly.has(x.dtype)) return x;
      const wide = keep(convert(x, 'float32'));
      temporary.push(wide);
      return wide;
    });
    return execute({ ...call, inputs }).map((out, i) => {
      const wanted = specs[i].dtype;
      if (out.dtype === wanted) return out;
      const narrow = convert(out, wanted);
      out.dispose();
      return narrow;
    });
  } finally {
    for (const t of temporary) t.dispose();
  }
}

/** The plain loop of an op, over host memory in float64. */
function runLoop(
  op: OpDefinition,
  inputs: readonly Operand[],
  attrs: Attrs,
  specs: readonly Spec[],
  backend: Backend,
): Tensor[] {
  const host = backend.host;
  if (!host) throw new OpError(op.name, `the ${backend.name} backend has no kernel for it and no host memory`);
  return allocate(specs, backend, (outputs) => {
    const results: Flat[] = specs.map((s) => ({ values: new Float64Array(sizeOf(s.shape)), shape: s.shape }));
    if (op.expr) evaluate(op.expr, attrs, inputs, results[0], host);
    else if (op.reference) {
      const flats = inputs.map((x) => (x === null ? null : { values: host.load(x.view()), shape: x.shape }));
      op.reference(flats, results, attrs);
      for (const i of op.mutates?.(attrs) ?? []) {
        const written = inputs[i];
        if (written) host.store(written.view(), (flats[i] as Flat).values);
      }
    }
    outputs.forEach((t, i) => {
      host.store(t.view(), results[i].values);
    });
  });
}

/** Evaluates an expression for every element of broadcast operands. */
function evaluate(expr: Expr, attrs: Attrs, inputs: readonly Operand[], result: Flat, host: HostAccess): void {
  const operands = inputs.map((x) => host.load(broadcastView((x as Tensor).view(), result.shape)));
  const f = evaluator(expr, attrs);
  const row = new Array<number>(operands.length);
  for (let i = 0; i < result.values.length; i++) {
    for (let k = 0; k < row.length; k++) row[k] = operands[k][i];
    result.values[i] = f(row);
  }
}

function broadcastView(view: View, shape: readonly number[]): View {
  return { ...view, shape, strides: broadcastStrides(view, shape) };
}
