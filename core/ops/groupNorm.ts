import { OpError } from '../errors.js';
import { scope } from '../memory.js';
import type { Tensor } from '../tensor.js';
import { add } from './add.js';
import { layerNorm } from './layerNorm.js';
import { mul } from './mul.js';
import { reshape } from './reshape.js';

export interface GroupNormOptions {
  readonly weight?: Tensor | null;
  readonly bias?: Tensor | null;
  /** Added to the variance. */
  readonly eps?: number;
}

/** x [B, C, ...] with each of `groups` groups of channels brought to mean 0 and variance 1; weight and bias [C]. Wu & He 2018. */
export function groupNorm(x: Tensor, groups: number, { weight, bias, eps = 1e-5 }: GroupNormOptions = {}): Tensor {
  if (x.rank < 2 || x.shape[1] % groups !== 0) {
    throw new OpError('groupNorm', `expected [B, C, ...] with C in ${groups} groups, got ${x}`);
  }
  return scope(() => {
    let y = reshape(layerNorm(reshape(x, [x.shape[0], groups, -1]), null, null, { eps }), x.shape);
    const channels = (t: Tensor) => reshape(t, [-1, ...x.shape.slice(2).map(() => 1)]);
    if (weight) y = mul(y, channels(weight));
    return bias ? add(y, channels(bias)) : y;
  });
}
