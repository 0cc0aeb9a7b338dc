import { InputError } from '../core/errors.js';
import { writeFileAtomically } from './sink.js';
import { bytesView, elementCount } from './stored.js';

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
const MAX_HEADER_BYTES = 65536;

/** An array of numpy's `.npy` format: float32 or int32 values, row by row. */
export interface NpyArray {
  shape: readonly number[];
  data: Float32Array | Int32Array;
}

/** The bytes of a `.npy` file (version 1.0) with this array. */
export function npyBytes({ shape, data }: NpyArray): Uint8Array<ArrayBuffer> {
  if (elementCount(shape) !== data.length) {
    throw new InputError(`npy: ${data.length} values do not fill the shape [${shape}].`);
  }
  const descr = data instanceof Float32Array ? '<f4' : '<i4';
  const axes = shape.length === 1 ? `${shape[0]},` : shape.join(', ');
  const dict = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${axes}), }`;
  // Padded so that the values start at a multiple of 64; the last character is a newline.
  const header = Math.ceil((10 + dict.length + 1) / 64) * 64;
  const out = new Uint8Array(header + data.byteLength).fill(0x20, 0, header);
  out.set(MAGIC);
  out.set([1, 0, (header - 10) & 0xff, (header - 10) >> 8], 6);
  out.set(new TextEncoder().encode(dict), 10);
  out[header - 1] = 0x0a;
  out.set(bytesView(data), header);
  return out;
}

/** Reads a `.npy` file of float32 or int32 values. Throws InputError for anything else; `name` stands in its message. */
export function parseNpy(bytes: Uint8Array, name = 'npy file'): NpyArray {
  const fail = (why: string): never => {
    throw new InputError(`${name} is not a .npy file of float32 or int32 values: ${why}.`);
  };
  if (bytes.length < 12 || MAGIC.some((byte, i) => bytes[i] !== byte)) fail('it does not start as one');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const wide = bytes[6] > 1;
  const start = wide ? 12 : 10;
  const length = wide ? view.getUint32(8, true) : view.getUint16(8, true);
  if (length > MAX_HEADER_BYTES || start + length > bytes.length) fail('its header is longer than the file');
  const header = new TextDecoder().decode(bytes.subarray(start, start + length));
  const descr = /'descr':\s*'([^']{1,8})'/.exec(header)?.[1];
  const axes = /'shape':\s*\(([\d,\s]{0,400})\)/.exec(header)?.[1];
  if (descr !== '<f4' && descr !== '<i4') return fail(`its type is ${descr ?? 'not given'}`);
  if (!/'fortran_order':\s*False/.test(header)) fail('it is not in row order');
  const shape = axes?.match(/\d+/g)?.map(Number) ?? [];
  const count = axes === undefined ? Number.NaN : elementCount(shape);
  if (Number.isNaN(count)) fail('it has no valid shape');
  if (bytes.length - start - length !== count * 4) fail(`[${shape}] does not match its ${bytes.length} bytes`);
  const values = new Uint8Array(bytes.subarray(start + length)).buffer;
  return { shape, data: descr === '<f4' ? new Float32Array(values) : new Int32Array(values) };
}

/** Writes an array as a `.npy` file (Node): whole or not at all. */
export async function writeNpy(path: string, array: NpyArray): Promise<void> {
  await writeFileAtomically(path, (sink) => sink.write(npyBytes(array)));
}
