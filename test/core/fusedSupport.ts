/** What the tests of fused ops and losses share: random operands, gradients, comparison, PyTorch's cases. */
import assert from 'node:assert/strict';
import { backward } from '../../autograd/backward.js';
import { scope } from '../../core/memory.js';
import { mul, sum } from '../../core/ops/index.js';
import { Generator } from '../../core/random.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { readTensors } from '../support/fixtures.js';

const generator = new Generator(1);

/** A float32 tensor of normal numbers. */
export function random(shape: readonly number[], requiresGrad = false): Tensor {
  const size = shape.reduce((n, d) => n * d, 1);
  return tensor(generator.normal(size), { shape, requiresGrad });
}

/** A float64 tensor of normal numbers that requires a gradient: an input of gradcheck. */
export function random64(...shape: number[]): Tensor {
  const size = shape.reduce((n, d) => n * d, 1);
  return tensor(Float64Array.from(generator.normal(size)), { shape, requiresGrad: true });
}

/** Runs `fn`, reads the tensors that it returns by name and frees everything. */
export async function read(fn: () => Record<string, Tensor>): Promise<Record<string, number[]>> {
  const tensors = scope(fn);
  const out: Record<string, number[]> = {};
  try {
    for (const [name, t] of Object.entries(tensors)) out[name] = Array.from(await t.data());
  } finally {
    for (const t of Object.values(tensors)) t.dispose();
  }
  return out;
}

/** Takes the gradient out of a leaf; the caller owns it. */
export function takeGrad(leaf: Tensor): Tensor {
  assert.ok(leaf.grad, `no gradient arrived at ${leaf}`);
  const g = leaf.grad;
  leaf.grad = null;
  return g;
}

/** `fn` of fresh leaves with the given values: its output, and their gradients for the given d loss / d output. */
export function differentiate(
  leaves: Readonly<Record<string, Tensor>>,
  fn: (leaves: Readonly<Record<string, Tensor>>) => Tensor,
  upstream: Tensor,
): Record<string, Tensor> {
  const own = Object.fromEntries(Object.entries(leaves).map(([k, t]) => [k, t.detach().requireGrad()]));
  const output = fn(own);
  backward(sum(mul(output, upstream)));
  return {
    output: output.detach(),
    ...Object.fromEntries(Object.entries(own).map(([k, leaf]) => [`grad/${k}`, takeGrad(leaf)])),
  };
}

/** |got - wanted| <= tolerance * max(1, |wanted|) everywhere; NaN equals NaN, Inf its like. */
export function close(got: ArrayLike<number>, wanted: ArrayLike<number>, tolerance: number, what: string): void {
  assert.equal(got.length, wanted.length, `${what}: number of elements`);
  for (let i = 0; i < wanted.length; i++) {
    if (Object.is(got[i], wanted[i]) || got[i] === wanted[i]) continue;
    const error = Math.abs(got[i] - wanted[i]) / Math.max(1, Math.abs(wanted[i]));
    assert.ok(error <= tolerance, `${what}[${i}]: got ${got[i]}, wanted ${wanted[i]} (error ${error})`);
  }
}

/** Compares two results of `read` key by key. */
export function closeAll(got: Record<string, number[]>, wanted: Record<string, number[]>, tolerance: number): void {
  assert.deepEqual(Object.keys(got).sort(), Object.keys(wanted).sort());
  for (const [name, values] of Object.entries(wanted)) close(got[name], values, tolerance, name);
}

/** The case `op` of PyTorch's operator numbers. */
export interface OperatorCase {
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly upstream: Tensor;
  readonly expected: Record<string, number[]>;
  dispose(): void;
}

export async function operatorCase(op: string): Promise<OperatorCase> {
  const inputs: Record<string, Tensor> = {};
  const expected: Record<string, number[]> = {};
  let upstream: Tensor | null = null;
  for (const [path, { shape, values }] of await readTensors('operators.safetensors')) {
    const [owner, kind, name] = path.split('/');
    if (owner !== op) continue;
    if (kind === 'input') inputs[name] = tensor(values, { shape });
    else if (kind === 'upstream') upstream = tensor(values, { shape });
    else expected[kind === 'grad' ? `grad/${name}` : kind] = Array.from(values);
  }
  if (!upstream) throw new Error(`operators.safetensors has no ${op}`);
  const all = [...Object.values(inputs), upstream];
  return {
    inputs,
    upstream,
    expected,
    dispose: () => {
      for (const t of all) t.dispose();
    },
  };
}

/** Runs `fn` on the inputs of an operator case and compares the result and all gradients with PyTorch's. */
export async function checkOperator(op: string, fn: (x: Readonly<Record<string, Tensor>>) => Tensor): Promise<void> {
  const { inputs, upstream, expected, dispose } = await operatorCase(op);
  try {
    const differentiable = Object.fromEntries(Object.entries(inputs).filter(([k]) => `grad/${k}` in expected));
    const got = await read(() => differentiate(differentiable, (leaves) => fn({ ...inputs, ...leaves }), upstream));
    closeAll(got, expected, 1e-5);
  } finally {
    dispose();
  }
}
