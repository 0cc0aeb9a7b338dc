/** Index files: which images, texts and labels a data set consists of, in the official format. */

import type { IndexTask } from '../rows.js';
import { indexImageNet } from './imagenet.js';
import type { IndexOptions, IndexReport } from './job.js';
import { indexCocoCaptioning, indexCocoRetrieval, indexFlickr30k, indexNocaps } from './karpathy.js';
import { indexNlvr2 } from './nlvr2.js';
import { indexVqav2 } from './vqav2.js';

export { readAnswers } from '../answers.js';
export {
  type CaptioningRow,
  type ImageNetRow,
  type IndexRows,
  type IndexSplit,
  type IndexTask,
  indexFiles,
  type Nlvr2Row,
  type ReadIndexOptions,
  type RetrievalRow,
  readIndex,
  TASK_OF,
  type TaskOf,
  type TextSegment,
  type VqaRow,
} from '../rows.js';
export type { IndexOptions, IndexReport } from './job.js';
export { indexClassFolders, indexTable, type OwnIndexOptions } from './own.js';

const MAKERS: { readonly [task in IndexTask]: (options: IndexOptions) => Promise<IndexReport> } = {
  imagenet: indexImageNet,
  vqav2: indexVqav2,
  nlvr2: indexNlvr2,
  coco_captioning: indexCocoCaptioning,
  coco_retrieval: indexCocoRetrieval,
  flickr30k: indexFlickr30k,
  nocaps: indexNocaps,
};

/**
 * Makes the index files of an official data set from its own annotation files, byte for byte as the reference's Python
 * makes them. All files appear together or, when something is wrong, none. Throws InputError, one sentence, for an
 * annotation file that is missing or broken. Node only.
 */
export function makeIndex(task: IndexTask, options: IndexOptions): Promise<IndexReport> {
  return MAKERS[task](options);
}
