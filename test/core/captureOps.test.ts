/** Ops in a captured step: replays for other values are what they compute eagerly, bit for bit, values and gradients. */
import '../../autograd/index.js';
import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { valueAndGrad } from '../../autograd/grad.js';
import { disposeBackend } from '../../backends/index.js';
import type { Attrs, Backend } from '../../core/backend.js';
import { capture } from '../../core/capture.js';
import { setDefaultBackend } from '../../core/device.js';
import { call } from '../../core/dispatch.js';
import { isFloat } from '../../core/dtype.js';
import { scope } from '../../core/memory.js';
import type { OpDefinition, Operand, Sample } from '../../core/op.js';
import { add, sum } from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import { gpuOrReason } from '../support/gpu.js';
import { DEPENDENT, operands, sampledOps } from '../support/samples.js';
import { withoutLeak } from '../support/values.js';

const found = await gpuOrReason();
/** One to make what is made once, one that is recorded, three that are replayed. */
const BATCHES = 5;

/** The outputs of a call, and the gradients of its float inputs. */
function everything(op: OpDefinition<Attrs>, attrs: Attrs, pattern: readonly Operand[]) {
  return (...given: Tensor[]): Tensor[] => {
    const whole = (some: readonly Tensor[]): Operand[] => {
      const rest = [...some];
      return pattern.map((t) => t && (rest.shift() as Tensor));
    };
    const outputs = call(op, whole(given), attrs);
    if (op.nonDifferentiable || !outputs.some((t) => isFloat(t.dtype))) return outputs;
    // Integers take no gradients.
    const floats = given.filter((t) => isFloat(t.dtype));
    const total = (...leaves: Tensor[]): Tensor => {
      const rest = [...leaves];
      const all = given.map((t) => (isFloat(t.dtype) ? (rest.shift() as Tensor) : t));
      const auxiliary = op.vjp?.auxiliary ?? Number.POSITIVE_INFINITY;
      return call(op, whole(all), attrs)
        .filter((t, i) => isFloat(t.dtype) && i < auxiliary)
        .map((t) => sum(t))
        .reduce((a, b) => add(a, b));
    };
    return [...outputs, ...valueAndGrad(total)(...floats).grads];
  };
}

async function read(tensors: readonly Tensor[]): Promise<unknown[]> {
  const out: unknown[] = [];
  for (const t of tensors) {
    out.push([`${t}`, ...(await t.data())]);
    t.dispose();
  }
  return out;
}

async function replays(op: OpDefinition<Attrs>, sample: Sample<Attrs>): Promise<void> {
  const make = (seed: number) => scope(() => operands({ sample, dtype: 'float32', layout: 'contiguous', seed }));
  const pattern = make(0);
  for (const t of pattern) t?.dispose();
  const fn = everything(op, sample.attrs, pattern);
  const step = capture(fn);
  try {
    for (let i = 0; i < BATCHES; i++) {
      const inputs = make(100 * i).filter((t) => t !== null);
      assert.deepEqual(await read(step(...inputs)), await read(scope(() => fn(...inputs))), `batch ${i}`);
      for (const t of inputs) t.dispose();
    }
    assert.ok(step.recording);
  } finally {
    step.dispose();
  }
}

describe('ops in captured steps', { skip: typeof found === 'string' ? found : false }, () => {
  after(() => disposeBackend('webgpu'));
  for (const { op, samples } of sampledOps()) {
    // Those that write in place are tested with the optimisers; all expressions take the way of one.
    if (DEPENDENT.includes(op.name) || op.mutates || samples.length === 0 || (op.expr && op.name !== 'pow')) continue;
    it(op.name, async () => {
      const backend = found as Backend;
      setDefaultBackend(backend);
      await withoutLeak(backend, async () => {
        await replays(op, samples[samples.length - 1]);
      });
    });
  }
});
