import { InputError } from '../core/errors.js';
import type { CheckpointContents } from './checkpoint.js';
import { StoredTensor, type TensorEntry } from './entry.js';
import { shown } from './shown.js';
import type { ByteSource } from './source.js';
import { elementCount, itemBytes, type StoredDType } from './stored.js';

/** Names of the element types in the format, in the order in which the official library writes them. */
export const SAFETENSORS_DTYPES = {
  U64: 'uint64',
  I64: 'int64',
  F64: 'float64',
  C64: 'complex64',
  F32: 'float32',
  U32: 'uint32',
  I32: 'int32',
  BF16: 'bfloat16',
  F16: 'float16',
  U16: 'uint16',
  I16: 'int16',
  F8_E4M3: 'float8_e4m3fn',
  F8_E5M2: 'float8_e5m2',
  I8: 'int8',
  U8: 'uint8',
  BOOL: 'bool',
} as const satisfies Record<string, StoredDType>;

/** The limit of the official library. */
export const MAX_HEADER_BYTES = 100_000_000;

/** Reads the directory of a safetensors file. Like the official library, it wants the values without gap or overlap. */
export async function openSafetensors(source: ByteSource): Promise<CheckpointContents> {
  const damaged = (why: string): never => {
    throw new InputError(`${source.name} is not a valid safetensors file: ${why}; get it again.`);
  };
  const prefix = await source.read(0, 8);
  const headerBytes = Number(new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true));
  if (headerBytes > MAX_HEADER_BYTES) damaged(`its header would take ${headerBytes} bytes`);
  const values = 8 + headerBytes;
  if (values > source.size) damaged(`its header takes ${headerBytes} bytes and the file has ${source.size}`);
  const header = parseHeader(await source.read(8, headerBytes), damaged);

  const metadata: Record<string, string> = {};
  const placed: { entry: TensorEntry; begin: number; end: number }[] = [];
  for (const [name, value] of Object.entries(header)) {
    if (name === '__metadata__') {
      if (!isRecord(value)) return damaged('__metadata__ is not a table of texts');
      for (const [key, text] of Object.entries(value)) {
        if (typeof text !== 'string') damaged(`__metadata__ ${shown(key)} is not a text`);
        else
          Object.defineProperty(metadata, key, { value: text, enumerable: true, writable: true, configurable: true });
      }
      continue;
    }
    const what = `tensor ${shown(name)}`;
    if (!isRecord(value)) return damaged(`${what} is not described by an object`);
    const dtype = dtypeOf(value.dtype);
    if (!dtype) return damaged(`${what} has the unknown dtype ${shown(String(value.dtype))}`);
    const { shape, data_offsets: offsets } = value;
    const count = Array.isArray(shape) ? elementCount(shape) : Number.NaN;
    if (Number.isNaN(count)) return damaged(`${what} has no valid shape`);
    if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every((o) => Number.isSafeInteger(o) && o >= 0)) {
      return damaged(`${what} has no valid data_offsets`);
    }
    const [begin, end] = offsets as [number, number];
    if (end - begin !== count * itemBytes(dtype)) {
      damaged(
        `${what} is ${dtype} [${(shape as number[]).slice(0, 8)}] and takes ${end - begin} bytes, expected ${count * itemBytes(dtype)}`,
      );
    }
    if (values + end > source.size) {
      throw new InputError(
        `${source.name} is truncated: ${what} ends at byte ${values + end} and the file has ${source.size}; get it again.`,
      );
    }
    const entry = new StoredTensor(name, dtype, shape as number[], source, { offset: values + begin });
    placed.push({ entry, begin, end });
  }

  const tensors = new Map(placed.map(({ entry }) => [entry.name, entry]));
  let expected = 0;
  for (const { entry, begin, end } of [...placed].sort((a, b) => a.begin - b.begin || a.end - b.end)) {
    if (begin !== expected) damaged(`tensor ${shown(entry.name)} starts at ${begin}, expected ${expected}`);
    expected = end;
  }
  if (values + expected !== source.size) {
    damaged(`its tensors end at byte ${values + expected} and the file has ${source.size}`);
  }
  return { format: 'safetensors', tensors, metadata, extra: {} };
}

function parseHeader(bytes: Uint8Array, damaged: (why: string) => never): Record<string, unknown> {
  try {
    const header: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (isRecord(header)) return header;
  } catch {
    // Told below.
  }
  return damaged('its header is not JSON');
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function dtypeOf(name: unknown): StoredDType | undefined {
  return typeof name === 'string' && Object.hasOwn(SAFETENSORS_DTYPES, name)
    ? SAFETENSORS_DTYPES[name as keyof typeof SAFETENSORS_DTYPES]
    : undefined;
}
