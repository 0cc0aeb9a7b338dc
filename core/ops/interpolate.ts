import { OpError } from '../errors.js';
import { scope } from '../memory.js';
import { type Tensor, tensor } from '../tensor.js';
import { matmul } from './matmul.js';
import { transpose } from './permute.js';

export interface InterpolateOptions {
  /** Height and width of the result. */
  readonly size: readonly [number, number];
  readonly mode?: 'bilinear' | 'bicubic';
  /** Whether the centres of the corner pixels stay where they are; else the borders of the image do. */
  readonly alignCorners?: boolean;
}

/** Weights of the four neighbours of a point at `t` past the second; Keys 1981 with a = -0.75. */
function cubic(t: number): number[] {
  const a = -0.75;
  const near = (d: number) => ((a + 2) * d - (a + 3)) * d * d + 1;
  const far = (d: number) => ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return [far(t + 1), near(t), near(1 - t), far(2 - t)];
}

/** [size, length]: each row holds what the samples of a line contribute to one sample of the resized line. */
function weights(length: number, size: number, cubicMode: boolean, alignCorners: boolean): Float64Array {
  const out = new Float64Array(size * length);
  for (let i = 0; i < size; i++) {
    let at = alignCorners ? (size > 1 ? (i * (length - 1)) / (size - 1) : 0) : ((i + 0.5) * length) / size - 0.5;
    if (!cubicMode) at = Math.max(at, 0);
    const base = Math.floor(at);
    const parts = cubicMode ? cubic(at - base) : [1 - (at - base), at - base];
    const first = cubicMode ? base - 1 : base;
    // Beyond the border lies the border's own value.
    parts.forEach((w, k) => {
      out[i * length + Math.min(Math.max(first + k, 0), length - 1)] += w;
    });
  }
  return out;
}

/** Images [B, C, H, W] resampled to another size, without antialiasing, as PyTorch does it. */
export function interpolate(x: Tensor, { size, mode = 'bilinear', alignCorners = false }: InterpolateOptions): Tensor {
  if (x.rank !== 4 || x.shape[2] * x.shape[3] === 0) {
    throw new OpError('interpolate', `expected images [B, C, H, W] with pixels, got ${x}`);
  }
  const dtype = x.dtype === 'float64' ? 'float64' : 'float32';
  return scope(() => {
    const [vertical, horizontal] = size.map((count, i) => {
      const length = x.shape[2 + i];
      const values = weights(length, count, mode === 'bicubic', alignCorners);
      return tensor(values, { shape: [count, length], dtype, backend: x.backend });
    });
    return matmul(vertical, matmul(x, transpose(horizontal)));
  });
}
