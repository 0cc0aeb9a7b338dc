import { type ImagePipeline, preprocessImage } from '../../images/index.js';
import type { ImageTransform } from '../transforms/transform.js';

/** The evaluation pipelines of the official code. */
export interface TransformSpec {
  readonly pipeline: ImagePipeline;
  readonly size: number;
}

export function buildTransform({ pipeline, size }: TransformSpec): ImageTransform {
  return (image) => preprocessImage(image, pipeline, { size });
}
