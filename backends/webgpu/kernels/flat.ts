/** Many tensors as few arrays: gradients have buffers of their own, and a kernel can be given only a few of them. */
import type { View } from '../../../core/backend.js';
import { bytesOf } from '../../../core/dtype.js';
import { copy } from '../copy.js';
import type { GpuBlock } from '../memory.js';
import type { Runtime } from '../runtime.js';
import { withScratch } from '../scratch.js';

/** A contiguous tensor. */
export interface Flat {
  readonly view: View;
  readonly size: number;
}

/** Elements of a tensor: `size` of them from `first` on. */
export interface Part<T extends Flat> {
  readonly tensor: T;
  readonly first: number;
  readonly size: number;
  /** Where they begin in the piece. */
  readonly at: number;
}

/** Parts that one launch is given as one float32 array of `size` elements. */
export interface Piece<T extends Flat> {
  readonly parts: Part<T>[];
  size: number;
  /** Whether the array is the tensor's own. */
  readonly direct: boolean;
}

/** Elements of a tensor that is worth a launch of its own rather than a copy. */
const LARGE = 2 ** 24;
/** Elements of a piece: large enough for few launches, small beside what a step needs besides. */
const [SMALLEST, LARGEST] = [2 ** 26, 2 ** 28];
const PIECES = 3;

/**
 * Deals tensors out to pieces. Parts begin at multiples of `step` elements, in their tensors and in the piece; `joins`
 * says whether a tensor may be a part of a piece that has others.
 */
export function piecesOf<T extends Flat>(
  rt: Runtime,
  tensors: readonly T[],
  step: number,
  joins: (tensor: T, piece: Piece<T>) => boolean = () => true,
): Piece<T>[] {
  const isDirect = ({ view, size }: T): boolean =>
    view.dtype === 'float32' && view.offset % step === 0 && !(view.block as GpuBlock).slab && size >= LARGE;
  const copied = tensors.filter((t) => t.size > 0 && !isDirect(t));
  const total = copied.reduce((n, { size }) => n + size, 0);
  const { maxBufferSize, maxStorageBufferBindingSize } = rt.device.limits;
  const limit = Math.min(LARGEST, Math.floor(Math.min(maxBufferSize, maxStorageBufferBindingSize) / 5));
  const most = Math.ceil(Math.min(limit, Math.max(SMALLEST, total / PIECES)) / step) * step;
  const pieces: Piece<T>[] = tensors
    .filter((t) => t.size > 0 && isDirect(t))
    .map((tensor) => ({ parts: [{ tensor, first: 0, size: tensor.size, at: 0 }], size: tensor.size, direct: true }));
  let piece: Piece<T> | null = null;
  for (const tensor of copied) {
    for (let first = 0; first < tensor.size; ) {
      if (!piece || piece.size >= most || !joins(tensor, piece)) {
        piece = { parts: [], size: 0, direct: false };
        pieces.push(piece);
      }
      const size = Math.min(tensor.size - first, most - piece.size);
      piece.parts.push({ tensor, first, size, at: piece.size });
      // The last part may end anywhere.
      piece.size += Math.ceil(size / step) * step;
      first += size;
    }
  }
  return pieces;
}

/** Calls `use` with the array of a piece, which is there until then. */
export function withPiece<T extends Flat>(rt: Runtime, piece: Piece<T>, use: (x: View) => void): void {
  if (piece.direct) {
    use(piece.parts[0].tensor.view);
    return;
  }
  withScratch(rt, [{ dtype: 'float32', shape: [piece.size] }], (x) => {
    for (const { tensor, first, size, at } of piece.parts) {
      const { view } = tensor;
      const offset = view.offset + first;
      if (view.dtype === 'float32') {
        const bytes = bytesOf(view.dtype);
        rt.copyBytes(view.block as GpuBlock, bytes * offset, x.block as GpuBlock, bytes * at, bytes * size);
      } else {
        const line = { shape: [size], strides: [1] };
        copy(rt, { ...view, ...line, offset }, { ...x, ...line, offset: at });
      }
    }
    use(x);
  });
}
