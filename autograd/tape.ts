/** The autograd interceptor: records calls whose inputs need gradients. */
import { type Call, intercept, type Next, ORDER } from '../core/dispatch.js';
import { isFloat } from '../core/dtype.js';
import { scope } from '../core/memory.js';
import { isGradEnabled } from '../core/modes.js';
import type { Tensor } from '../core/tensor.js';
import { edgeOf, Node, record } from './node.js';

function tape(call: Call, next: Next): Tensor[] {
  const { op, inputs, attrs } = call;
  if (!isGradEnabled() || !inputs.some((t) => t?.requiresGrad)) return next(call);
  if (op.through && op.decompose) {
    const { decompose } = op;
    // What lies between is freed here; what backward needs of it, the recorded calls keep.
    return scope(() => [...decompose(inputs, attrs)]);
  }
  const outputs = next(call);
  const vjp = op.vjp;
  const specs = inputs.map((t) => t && { dtype: t.dtype, shape: t.shape });
  const backward = vjp
    ? (grads: Parameters<typeof vjp.back>[0], saved: Parameters<typeof vjp.back>[1]) =>
        vjp.back(grads, saved, attrs, specs)
    : () => {
        throw new Error(`[${op.name}] has no gradient: ${op.nonDifferentiable}`);
      };
  const saved = vjp?.saves?.(inputs, outputs, attrs) ?? [];
  const node = new Node(op.name, specs, outputs.length, inputs.map(edgeOf), saved, backward);
  const auxiliary = vjp?.auxiliary ?? outputs.length;
  const wanted = (i: number) => i < auxiliary && isFloat(outputs[i].dtype);
  record(node, outputs, wanted);
  // Nothing hangs on a node without outputs: it would never be released.
  if (!outputs.some((_, i) => wanted(i))) {
    node.retain();
    node.release();
  }
  return outputs;
}

intercept(ORDER.autograd, tape);
