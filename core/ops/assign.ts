import { call } from '../dispatch.js';
import { OpError } from '../errors.js';
import { mayOverlap } from '../layout.js';
import { scope } from '../memory.js';
import { noGrad } from '../modes.js';
import { defineOp } from '../op.js';
import type { Tensor } from '../tensor.js';
import { clone } from './contiguous.js';
import { expand } from './expand.js';
import { expectShape } from './fused.js';
import { need } from './rules.js';

const op = defineOp({
  name: 'assign',
  moves: true,
  infer(inputs) {
    const [target, source] = [0, 1].map((i) => need('assign', inputs, i));
    expectShape('assign', 'a source', source, target.shape);
    return [];
  },
  mutates: () => [0],
  decompose(inputs) {
    const [target, source] = inputs as Tensor[];
    target.backend.copy(source.view(), target.view());
    return [];
  },
  nonDifferentiable: 'it writes in place',
  samples: () => [{ inputs: [{ shape: [3, 4] }, { shape: [3, 4], dtype: 'float32' }], attrs: {} }],
});

/**
 * Copies the values of `source` (broadcast, cast) into the memory of `target`, which may be a view. For parameters,
 * optimiser state and caches: nothing is recorded, and a computed tensor that autograd follows is refused.
 */
export function assign(target: Tensor, source: Tensor): void {
  if (target.node)
    throw new OpError('assign', `expected a leaf or a detached tensor as target, got ${target} with a history`);
  if (target.size > 0 && target.shape.some((d, i) => d > 1 && target.strides[i] === 0)) {
    throw new OpError(
      'assign',
      `expected a target with memory for each element, got ${target} that repeats some (expand)`,
    );
  }
  noGrad(() =>
    scope(() => {
      const values = expand(source, target.shape);
      // A copy in place must not read what it has written already.
      const onto = source.storage === target.storage && target.size > 0 && mayOverlap(target, values);
      call(op, [target, onto ? clone(values) : values], {});
    }),
  );
}
