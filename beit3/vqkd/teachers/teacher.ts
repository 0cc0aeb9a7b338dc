/** What a visual tokenizer learns to tell: the features that a model which already understands pictures has of them. */
import { scope } from '../../../core/memory.js';
import { noGrad } from '../../../core/modes.js';
import { affine, clamp, div, sub } from '../../../core/ops/index.js';
import { type Tensor, tensor } from '../../../core/tensor.js';
import type { Module } from '../../../nn/module.js';

export const TEACHER_KINDS = ['clip', 'dino', 'beit3'] as const;
export type TeacherKind = (typeof TEACHER_KINDS)[number];

/** What a teacher sees and gives. */
export interface TeacherSizes {
  readonly kind: TeacherKind;
  /** Width D of its features. */
  readonly width: number;
  /** Side of the pictures that it takes, in pixels, and patches along a side; P is the square of that. */
  readonly imageSize: number;
  readonly grid: number;
}

/** A frozen model that has features of the patches of pictures. */
export interface Teacher extends TeacherSizes {
  /** Pictures float32 [B, 3, S, S], normalised as BEiT-3's are ((x - 0.5) / 0.5), -> [B, P, D]. Nothing is differentiated. */
  features(images: Tensor): Tensor;
  dispose(): void;
}

/** A teacher out of a model and what it does with pictures. */
export function teacherOf(sizes: TeacherSizes, model: Module, see: (images: Tensor) => Tensor): Teacher {
  model.eval();
  return {
    ...sizes,
    features: (images) => noGrad(() => scope(() => see(images))),
    dispose: () => model.dispose(),
  };
}

/** Mean and deviation of each channel, of values from 0 to 1. */
export interface Statistics {
  readonly mean: readonly number[];
  readonly deviation: readonly number[];
}

/** BEiT-3's pictures (from -1 to 1; what lies outside is clamped, as in the reference) normalised by other statistics. */
export function renormalized(images: Tensor, { mean, deviation }: Statistics): Tensor {
  const channels = (values: readonly number[]) =>
    tensor(Float32Array.from(values), { shape: [1, 3, 1, 1], backend: images.backend });
  return div(sub(clamp(affine(images, 0.5, 0.5), { min: 0, max: 1 }), channels(mean)), channels(deviation));
}
