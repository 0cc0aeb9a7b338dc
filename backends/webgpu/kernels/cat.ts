/** Tensors joined along an axis: a few of them in one launch. */
import type { Kernel, View } from '../../../core/backend.js';
import { contiguousStrides, sizeOf } from '../../../core/layout.js';
import { copy } from '../copy.js';
import { input, output } from '../program.js';
import type { Runtime } from '../runtime.js';
import { groupsFor, MAIN, storeElements } from '../wgsl/access.js';
import { bitsLoader, bitsOf } from '../wgsl/bits.js';
import { collapse } from '../wgsl/indexing.js';
import { stepCode, stepFields, stepValues, type Walk, walkOf } from '../wgsl/steps.js';

/** Operands of a launch: with the result, as many buffers as every GPU can bind. */
const MOST = 7;
/** Scalars of a launch, less what is not about operands. */
const MOST_FIELDS = 56;

export const cat = (rt: Runtime): Kernel => ({
  strided: true,
  plan(inputs, attrs) {
    const { axis } = attrs as { readonly axis: number };
    return ([y]) => {
      const operands = (inputs as readonly View[]).filter((x) => sizeOf(x.shape) > 0);
      const outer = sizeOf(y.shape.slice(0, axis));
      const walks = operands.map((x, i) => walkOf(`walk${i}`, collapse(x.shape, [x])));
      const fields = walks.reduce((n, walk) => n + 2 * walk.shape.length + 2, 0);
      // Whole blocks, one behind the other, are copied without a kernel.
      if (outer > 1 && operands.length <= MOST && fields <= MOST_FIELDS) join(rt, operands, walks, axis, y);
      else copyEach(rt, inputs as readonly View[], axis, y);
    };
  },
});

function copyEach(rt: Runtime, operands: readonly View[], axis: number, y: View): void {
  const strides = contiguousStrides(y.shape);
  let start = 0;
  for (const x of operands) {
    copy(rt, x, { ...y, shape: x.shape, strides, offset: y.offset + start * strides[axis] });
    start += x.shape[axis];
  }
}

/** Each element of the result looks for the operand that it is in. */
function join(rt: Runtime, operands: readonly View[], walks: readonly Walk[], axis: number, y: View): void {
  const n = sizeOf(y.shape);
  if (n === 0) return;
  const bits = bitsOf(y.dtype);
  const names = operands.map((_, i) => `x${i}`);
  const launch = rt.kernel(`cat:${bits}:${walks.map((walk) => walk.shape.length)}`, () => ({
    buffers: { ...Object.fromEntries(names.map((name) => [name, input('u32')])), y: output('u32') },
    scalars: {
      ...Object.fromEntries(
        ['n', 'inner', 'length', ...names.map((_, i) => `length${i}`)].map((f) => [f, 'u32'] as const),
      ),
      ...Object.assign({}, ...walks.map(stepFields)),
    },
    code: `${names.map((name) => bitsLoader(name, y.dtype)).join('\n')}
${walks.map(stepCode).join('\n')}
fn element(i: u32) -> u32 {
  let column = i % p.inner;
  let rest = i / p.inner;
  let line = rest / p.length;
  var at = rest % p.length;
  ${names
    .map((name, k) => {
      const found = `return load_${name}(p.${name}At + walk${k}((line * p.length${k} + at) * p.inner + column));`;
      return k === names.length - 1 ? found : `if (at < p.length${k}) { ${found} }\n  at -= p.length${k};`;
    })
    .join('\n  ')}
}
${MAIN}
  ${storeElements(bits, false)}
}`,
  }));
  const scalars = {
    n,
    inner: sizeOf(y.shape.slice(axis + 1)),
    length: y.shape[axis],
    ...Object.fromEntries(operands.map((x, i) => [`length${i}`, x.shape[axis]])),
    ...Object.assign({}, ...walks.map(stepValues)),
  };
  const views = { ...Object.fromEntries(operands.map((x, i) => [names[i], x])), y };
  launch(views, scalars, groupsFor(n, bits, false));
}
