import { InputError } from '../core/errors.js';
import { MAX_HEADER_BYTES, SAFETENSORS_DTYPES } from './safetensors.js';
import { type ByteSink, collectBytes, writeFileAtomically } from './sink.js';
import type { StoredDType } from './stored.js';
import { prepareAll, type WritableTensor } from './writable.js';

const ORDER = Object.keys(SAFETENSORS_DTYPES) as (keyof typeof SAFETENSORS_DTYPES)[];
const RANK = new Map<StoredDType, number>(ORDER.map((key, rank) => [SAFETENSORS_DTYPES[key], rank]));

/**
 * Writes a safetensors file (Node), streaming: at most one tensor's values are held. The bytes are those of the
 * official library: widest types first, then by name; `sorted: false` keeps the order given, for values that can only be
 * made one after the other. `metadata` is text only. Throws InputError.
 */
export function writeSafetensors(
  path: string,
  tensors: Iterable<WritableTensor>,
  metadata: Readonly<Record<string, string>> = {},
  { sorted = true }: { readonly sorted?: boolean } = {},
): Promise<void> {
  return writeFileAtomically(path, (sink) => write(sink, tensors, metadata, sorted));
}

/** The same file as bytes. */
export function safetensorsBytes(
  tensors: Iterable<WritableTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Promise<Uint8Array<ArrayBuffer>> {
  return collectBytes((sink) => write(sink, tensors, metadata, true));
}

async function write(
  sink: ByteSink,
  tensors: Iterable<WritableTensor>,
  metadata: Readonly<Record<string, string>>,
  sorted: boolean,
): Promise<void> {
  const prepared = prepareAll(tensors);
  for (const { name, dtype } of prepared) {
    if (name === '__metadata__') throw new InputError('No tensor can be named __metadata__ in a safetensors file.');
    if (!RANK.has(dtype)) throw new InputError(`Tensor ${name} is ${dtype}, which safetensors cannot hold.`);
  }
  if (sorted) prepared.sort((a, b) => RANK.get(a.dtype)! - RANK.get(b.dtype)! || compareUtf8(a.name, b.name));
  const fields: string[] = [];
  const texts = Object.entries(metadata);
  for (const [key, value] of texts) {
    if (typeof value !== 'string') throw new InputError(`Metadata ${key} must be a text.`);
  }
  if (texts.length > 0) fields.push(`"__metadata__":${JSON.stringify(metadata)}`);
  let at = 0;
  for (const { name, dtype, shape, byteLength } of prepared) {
    const description = { dtype: ORDER[RANK.get(dtype)!], shape, data_offsets: [at, at + byteLength] };
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(description)}`);
    at += byteLength;
  }
  const json = new TextEncoder().encode(`{${fields.join(',')}}`);
  if (json.length > MAX_HEADER_BYTES)
    throw new InputError(
      `${prepared.length} tensors are more than a safetensors file can name; write several files with fewer each.`,
    );
  // Padded with spaces so that the values start at a multiple of 8.
  const header = new Uint8Array(8 + Math.ceil(json.length / 8) * 8).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(header.length - 8), true);
  header.set(json, 8);
  await sink.write(header);
  for (const tensor of prepared) await tensor.stream((bytes) => sink.write(bytes));
}

/** The order of UTF-8 bytes, which is that of code points; JavaScript compares UTF-16 units. */
function compareUtf8(a: string, b: string): number {
  const left = [...a];
  const right = [...b];
  for (let i = 0; i < left.length && i < right.length; i++) {
    const difference = left[i].codePointAt(0)! - right[i].codePointAt(0)!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}
