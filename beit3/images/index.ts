/** Pictures: reading files, resizing, and what the model sees. */

export { decodeImage, MAX_PIXELS } from './decode.js';
export { listImageFiles } from './files.js';
export { type ImageFormat, type ImageHeader, readImageHeader } from './header.js';
export type { RgbImage } from './image.js';
export {
  fitImage,
  type ImagePipeline,
  normalizeImage,
  type Preprocessing,
  type PreprocessOptions,
  preprocessImage,
  preprocessImages,
} from './preprocess.js';
export { type Rectangle, type ResizeFilter, resizeBicubic, resizeImage } from './resize.js';
