import type { Spec } from '../backend.js';
import { call1 } from '../dispatch.js';
import { OpError } from '../errors.js';
import { defineOp, type OpDefinition } from '../op.js';
import type { Tensor } from '../tensor.js';
import { add } from './add.js';
import { stack } from './cat.js';
import { zeros } from './fill.js';
import { permute } from './permute.js';
import { formatSpec, need } from './rules.js';
import { padGrid, select, slice } from './slice.js';

/** Height and width. */
export type Pair = readonly [number, number];

/** A number for both axes, or one for each. */
export const pairOf = (value: number | Pair): Pair => (typeof value === 'number' ? [value, value] : value);

interface WindowAttrs {
  readonly kernel: Pair;
  readonly stride: Pair;
}

interface FoldAttrs extends WindowAttrs {
  readonly size: Pair;
}

/** Shape [B, H', W', C, kh kw] of the windows in [B, C, H, W]. */
function windowShape(op: string, x: Spec, { kernel, stride }: WindowAttrs): number[] {
  const counts = [0, 1].map((i) => Math.floor((x.shape[2 + i] - kernel[i]) / stride[i]) + 1);
  const valid = [...kernel, ...stride].every((v) => Number.isInteger(v) && v > 0);
  if (x.shape.length !== 4 || !valid || counts.some((n) => !(n > 0))) {
    throw new OpError(
      op,
      `expected images [B, C, H, W] of at least ${kernel.join(' x ')} pixels, got ${formatSpec(x)}`,
    );
  }
  return [x.shape[0], counts[0], counts[1], x.shape[1], kernel[0] * kernel[1]];
}

/** The places of a window, with the number of each. */
const places = ([height, width]: Pair): readonly (readonly [number, number, number])[] =>
  Array.from({ length: height * width }, (_, k) => [k, Math.floor(k / width), k % width] as const);

const fold: OpDefinition<FoldAttrs> = defineOp<FoldAttrs>({
  name: 'fold',
  infer(inputs, attrs) {
    const g = need('fold', inputs, 0);
    const x = { shape: [g.shape[0], g.shape[3], ...attrs.size], dtype: g.dtype };
    if (String(windowShape('fold', x, attrs)) !== String(g.shape)) {
      throw new OpError('fold', `expected the windows of ${formatSpec(x)}, got ${formatSpec(g)}`);
    }
    return [x];
  },
  decompose([input], { kernel, stride, size }) {
    const g = input as Tensor;
    const [B, , , C] = g.shape;
    let x = zeros([B, C, ...size], g);
    for (const [k, i, j] of places(kernel)) {
      const plane = permute(select(g, 4, k), [0, 3, 1, 2]);
      x = add(x, padGrid(plane, { shape: x.shape, starts: [0, 0, i, j], steps: [1, 1, ...stride] }));
    }
    return [x];
  },
  vjp: { back: ([g], _, { kernel, stride }) => [() => unfold(g as Tensor, kernel, stride)] },
  samples: () => [{ inputs: [{ shape: [2, 2, 3, 2, 6] }], attrs: { kernel: [2, 3], stride: [2, 1], size: [5, 5] } }],
});

const op = defineOp<WindowAttrs>({
  name: 'unfold',
  infer(inputs, attrs) {
    const x = need('unfold', inputs, 0);
    return [{ shape: windowShape('unfold', x, attrs), dtype: x.dtype }];
  },
  decompose([input], attrs) {
    const x = input as Tensor;
    const [, height, width] = windowShape('unfold', x, attrs);
    const { kernel, stride } = attrs;
    const planes = places(kernel).map(([, i, j]) => {
      const rows = slice(x, 2, i, i + (height - 1) * stride[0] + 1, stride[0]);
      return permute(slice(rows, 3, j, j + (width - 1) * stride[1] + 1, stride[1]), [0, 2, 3, 1]);
    });
    return [stack(planes, 4)];
  },
  vjp: {
    back: ([g], _, attrs, [x]) => [
      () => call1(fold, [g], { ...attrs, size: (x as Spec).shape.slice(2) as unknown as Pair }),
    ],
  },
  samples: () => [{ inputs: [{ shape: [2, 2, 5, 5] }], attrs: { kernel: [2, 3], stride: [2, 1] } }],
});

/** The windows of images [B, C, H, W]: [B, H', W', C, kh kw]. */
export const unfold = (x: Tensor, kernel: Pair, stride: Pair): Tensor => call1(op, [x], { kernel, stride });
