export { type Checkpoint, openCheckpoint } from './checkpoint.js';
export {
  type ChunkWriter,
  computedEntry,
  readFloat32,
  readInt32,
  renamedEntry,
  type TensorEntry,
} from './entry.js';
export { type NpyArray, npyBytes, parseNpy, writeNpy } from './npy.js';
export { InertObject, isTensorEntry, type Plain } from './plain.js';
export { resizePositions } from './positions.js';
export { type PthOptions, pthBytes, writePth } from './pth/write.js';
export { PUBLISHED, type Published, publishedResults } from './published.js';
export { cacheDirectory, type PullOptions, type PullProgress, pull } from './pull.js';
export { safetensorsBytes, writeSafetensors } from './safetensorsWriter.js';
export { type ByteSink, collectBytes, writeFileAtomically } from './sink.js';
export { type ByteSource, bytesSource, openSource, type SourceLike } from './source.js';
export { decodeFloat32, decodeInt32, elementCount, isStoredDType, itemBytes, type StoredDType } from './stored.js';
export type { WritableTensor } from './writable.js';
export { findWeights, WEIGHTS, type WeightsFile } from './zoo.js';
