/** Batches for training and evaluation. */

export {
  type DataSet,
  type PictureSource,
  subset,
  type TaskSamples,
  type Tokens,
  type Vocabulary,
} from '../dataSet.js';
export { type DataSetOptions, type IndexedDataSet, openDataSet } from '../openDataSet.js';
export { frameTexts } from './collate.js';
export { DataLoader, type LoaderOptions, type SkippedSample } from './dataLoader.js';
