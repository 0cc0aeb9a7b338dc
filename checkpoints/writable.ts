import { InputError } from '../core/errors.js';
import type { ChunkWriter, TensorEntry } from './entry.js';
import { bytesView, elementCount, isStoredDType, itemBytes, type StoredDType } from './stored.js';

/** A tensor to write: values at hand, values on demand, or an entry of another checkpoint (streamed). */
export type WritableTensor =
  | TensorEntry
  | {
      name: string;
      dtype: StoredDType;
      shape: readonly number[];
      /** Row-major, contiguous, little-endian. A function is called when its turn comes, once. */
      data: ArrayBufferView | (() => ArrayBufferView | Promise<ArrayBufferView>);
    };

/** What the writers work with. */
export interface PreparedTensor {
  name: string;
  dtype: StoredDType;
  shape: readonly number[];
  byteLength: number;
  stream(write: ChunkWriter): Promise<void>;
}

/** Checks names, types and sizes before anything is written. */
export function prepare(tensor: WritableTensor): PreparedTensor {
  const { name, dtype, shape } = tensor;
  if (!isStoredDType(dtype)) throw new InputError(`Tensor ${name} has the unknown dtype ${dtype}.`);
  const count = elementCount(shape);
  if (Number.isNaN(count)) throw new InputError(`Tensor ${name} has no valid shape: [${shape}].`);
  const byteLength = count * itemBytes(dtype);
  const expect = (bytes: number): void => {
    if (bytes === byteLength) return;
    throw new InputError(`Tensor ${name} is ${dtype} [${shape}]: expected ${byteLength} bytes, got ${bytes}.`);
  };
  if (!('data' in tensor)) {
    return {
      name,
      dtype,
      shape,
      byteLength,
      async stream(write) {
        let total = 0;
        await tensor.stream((bytes, at) => {
          total += bytes.length;
          return write(bytes, at);
        });
        expect(total);
      },
    };
  }
  const { data } = tensor;
  if (typeof data !== 'function') expect(data.byteLength);
  return {
    name,
    dtype,
    shape,
    byteLength,
    async stream(write) {
      const view = typeof data === 'function' ? await data() : data;
      expect(view.byteLength);
      if (byteLength > 0) await write(bytesView(view), 0);
    },
  };
}

/** All tensors prepared; refuses a name that comes twice. */
export function prepareAll(tensors: Iterable<WritableTensor>): PreparedTensor[] {
  const names = new Set<string>();
  return Array.from(tensors, (tensor) => {
    if (names.has(tensor.name)) throw new InputError(`Two tensors are named ${tensor.name}.`);
    names.add(tensor.name);
    return prepare(tensor);
  });
}
