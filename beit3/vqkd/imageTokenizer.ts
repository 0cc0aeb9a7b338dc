import type { Tensor } from '../../core/tensor.js';

/** What turns pictures into words: one of `codes` numbers for each of P patches. */
export interface ImageTokenizer {
  /** Size of the codebook. */
  readonly codes: number;
  /** Side of the pictures that it takes, in pixels, and patches along a side; P is the square of that. */
  readonly imageSize: number;
  readonly grid: number;
  /** Pictures float32 [B, 3, S, S], normalised as BEiT-3's are ((x - 0.5) / 0.5), -> codes int32 [B, P]. Nothing is differentiated. */
  encode(images: Tensor): Tensor;
}
