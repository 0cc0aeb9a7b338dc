/** Runs a model as a dump's case does and collects what the dump holds. */
import { backward } from '../../autograd/backward.js';
import { InputError } from '../../core/errors.js';
import { keep, scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import type { Tensor } from '../../core/tensor.js';
import type { Builder } from '../../nn/builder.js';
import type { Module } from '../../nn/module.js';
import { makeFilled } from '../checkpoint.js';
import type { Beit3 } from '../model/beit3.js';
import type { Dump, Values } from './dump.js';

export interface Results {
  readonly outputs: Map<string, Values>;
  readonly hidden: Map<string, Values>;
  readonly grads: Map<string, Values>;
  /** Absolute differences that outputs may have where the reference itself is rounding noise. */
  readonly noise?: ReadonlyMap<string, number>;
}

/** What a forward pass made. */
export interface Forward {
  readonly outputs: Record<string, Tensor>;
  /** What is differentiated; absent where the case has no gradients. */
  readonly loss?: Tensor;
}

async function read(t: Tensor): Promise<Values> {
  const values = (await t.data()) as Float32Array | Int32Array;
  t.dispose();
  return { values, shape: t.shape };
}

/** Rebuilds what a dump holds and calls it as the reference was called. */
export type Runner = (dump: Dump) => Promise<Results>;

/** A model with the weights of a dump, in training mode (dropout is off in every dump). */
export async function filled<M extends Module>(dump: Dump, make: (b: Builder) => M): Promise<M> {
  const { model } = await makeFilled(make, dump.group('state/'), dump.file, { backend: dump.backend });
  return model;
}

/** Runs `use` with a model and frees it. */
export async function using<M extends Module, R>(model: M, use: (model: M) => Promise<R>): Promise<R> {
  try {
    return await use(model);
  } finally {
    model.dispose();
  }
}

/** A number as an output. */
export const scalar = (value: number): Values => ({ values: Float32Array.of(value), shape: [] });

/** Runs `forward`, and backward from its loss when the dump has gradients; reads everything to the host. */
export async function evaluate(
  dump: Dump,
  model: Module & { readonly beit3?: Beit3 },
  forward: () => Forward,
): Promise<Results> {
  const wanted = dump.group('grad/').size > 0;
  const made = scope(() => {
    const hidden: Tensor[] = [];
    if (model.beit3) model.beit3.onHidden = (h) => hidden.push(h);
    const f = wanted ? forward() : noGrad(forward);
    if (!f.loss && dump.has('output/loss'))
      throw new InputError(`${dump.file} has a loss, but no labels in its inputs.`);
    if (wanted && f.loss) backward(f.loss);
    const copies = Object.entries(f.outputs).map(([name, t]): [string, Tensor] => [name, t.detach()]);
    if (f.loss) copies.push(['loss', f.loss.detach()]);
    return { outputs: new Map(copies), hidden: hidden.map((t) => t.detach()) };
  });
  const results: Results = { outputs: new Map(), hidden: new Map(), grads: new Map() };
  for (const [name, t] of made.outputs) results.outputs.set(name, await read(keep(t)));
  for (const [i, t] of made.hidden.entries()) results.hidden.set(String(i), await read(keep(t)));
  for (const [name, p] of model.namedParameters()) {
    if (p.grad) results.grads.set(name, { values: (await p.grad.data()) as Float32Array, shape: p.shape });
  }
  model.zeroGrad();
  const table = model.beit3?.encoder.embed_positions.A?.weight;
  if (table && dump.has('output/embed_positions'))
    results.outputs.set('embed_positions', { values: (await table.data()) as Float32Array, shape: table.shape });
  return results;
}
