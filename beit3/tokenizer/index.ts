/** Texts to token ids and back. */

export { type EncodeOptions, type Encoding, type ModelText, type ModelTexts, Tokenizer } from './tokenizer.js';
export { type TrainedUnigram, type TrainUnigramOptions, trainUnigram, type UnigramPiece } from './train.js';
