/** Training data that is read as it comes: pictures, texts and pairs. Node only. */
export { countPairs, openPairs, type PairStreamOptions } from './pairs.js';
export { eachPicture, openPictures } from './pictures.js';
export { expandBraces } from './shards.js';
export type { ShuffleOptions } from './shuffled.js';
export type { ImageSample, PairSample, Resumable, SampleStream, TextSample } from './stream.js';
export { openTexts, type TextStreamOptions } from './texts.js';
