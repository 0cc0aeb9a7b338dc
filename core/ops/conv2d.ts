import { OpError } from '../errors.js';
import { scope } from '../memory.js';
import type { Tensor } from '../tensor.js';
import { linear } from './linear.js';
import { mean } from './mean.js';
import { permute } from './permute.js';
import { reshape } from './reshape.js';
import { padZeros, slice } from './slice.js';
import { type Pair, pairOf, unfold } from './unfold.js';

export interface ConvolutionOptions {
  readonly stride?: number | Pair;
  /** Zeros around the image. */
  readonly padding?: number | Pair;
}

/** Windows that touch without overlapping are only a reordering: [B, C, H, W] as [B, H', W', C, kh, kw]. */
function patches(x: Tensor, [height, width]: Pair): Tensor {
  const [B, C, H, W] = x.shape;
  const [h, w] = [Math.floor(H / height), Math.floor(W / width)];
  const whole = slice(slice(x, 2, 0, h * height), 3, 0, w * width);
  return permute(reshape(whole, [B, C, h, height, w, width]), [0, 2, 4, 1, 3, 5]);
}

function expectImages(op: string, x: Tensor, [height, width]: Pair): void {
  if (x.rank !== 4 || x.shape[2] < height || x.shape[3] < width) {
    throw new OpError(op, `expected images [B, C, H, W] of at least ${height} x ${width} pixels, got ${x}`);
  }
}

/**
 * Cross-correlation of images [B, C, H, W] with kernels [O, C, kh, kw], plus bias [O] or null: [B, O, H', W'].
 * Kernels as large as the stride cost one reordering and one matrix product.
 */
export function conv2d(
  x: Tensor,
  weight: Tensor,
  bias: Tensor | null = null,
  options: ConvolutionOptions = {},
): Tensor {
  const stride = pairOf(options.stride ?? 1);
  const [top, left] = pairOf(options.padding ?? 0);
  if (x.rank !== 4 || weight.rank !== 4 || weight.shape[1] !== x.shape[1]) {
    throw new OpError('conv2d', `expected images [B, C, H, W] and kernels [O, C, kh, kw], got ${x} and ${weight}`);
  }
  const [outputs, , height, width] = weight.shape;
  return scope(() => {
    const framed =
      top === 0 && left === 0
        ? x
        : padZeros(x, [
            [0, 0],
            [0, 0],
            [top, top],
            [left, left],
          ]);
    expectImages('conv2d', framed, [height, width]);
    const touching = stride[0] === height && stride[1] === width;
    const windows = touching ? patches(framed, stride) : unfold(framed, [height, width], stride);
    const rows = reshape(windows, [...windows.shape.slice(0, 3), -1]);
    return permute(linear(rows, reshape(weight, [outputs, rows.shape[3]]), bias), [0, 3, 1, 2]);
  });
}

/** Mean over windows of images [B, C, H, W]; the stride defaults to the window. */
export function avgPool2d(x: Tensor, kernel: number | Pair, stride: number | Pair = kernel): Tensor {
  const [size, step] = [pairOf(kernel), pairOf(stride)];
  expectImages('avgPool2d', x, size);
  return scope(() => {
    const touching = size[0] === step[0] && size[1] === step[1];
    const windows = touching ? mean(patches(x, size), [4, 5]) : mean(unfold(x, size, step), 4);
    return permute(windows, [0, 3, 1, 2]);
  });
}
