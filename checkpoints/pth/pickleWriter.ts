import { InputError } from '../../core/errors.js';
import type { StoredDType } from '../stored.js';

const STORAGE_CLASSES: Partial<Record<StoredDType, string>> = {
  float32: 'FloatStorage',
  float64: 'DoubleStorage',
  float16: 'HalfStorage',
  bfloat16: 'BFloat16Storage',
  int64: 'LongStorage',
  int32: 'IntStorage',
  int16: 'ShortStorage',
  int8: 'CharStorage',
  uint8: 'ByteStorage',
  bool: 'BoolStorage',
  complex64: 'ComplexFloatStorage',
  complex128: 'ComplexDoubleStorage',
};

/** Bytes that grow. */
class Bytes {
  private buffer = new Uint8Array(1 << 16);
  length = 0;
  push(...bytes: number[]): void {
    this.append(Uint8Array.from(bytes));
  }
  append(bytes: Uint8Array): void {
    if (this.length + bytes.length > this.buffer.length) {
      const larger = new Uint8Array((this.length + bytes.length) * 2);
      larger.set(this.buffer.subarray(0, this.length));
      this.buffer = larger;
    }
    this.buffer.set(bytes, this.length);
    this.length += bytes.length;
  }
  done(): Uint8Array {
    return this.buffer.slice(0, this.length);
  }
}

/** Writes a pickle of protocol 2 with what `torch.load(weights_only=True)` accepts: plain data and tensors. */
export class PickleWriter {
  private readonly out = new Bytes();

  constructor() {
    this.out.push(0x80, 2);
  }

  none(): void {
    this.op('N');
  }

  bool(value: boolean): void {
    this.out.push(value ? 0x88 : 0x89);
  }

  /** A whole number becomes an int, any other a float. */
  number(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
      const bytes = new Uint8Array(9);
      bytes[0] = 0x47;
      new DataView(bytes.buffer).setFloat64(1, value, false);
      this.out.append(bytes);
    } else if (value === (value & 0xff)) {
      this.out.push(0x4b, value);
    } else if (value === (value | 0)) {
      const bytes = new Uint8Array(5);
      bytes[0] = 0x4a;
      new DataView(bytes.buffer).setInt32(1, value, true);
      this.out.append(bytes);
    } else {
      const bytes = new Uint8Array(10);
      bytes.set([0x8a, 8]);
      new DataView(bytes.buffer).setBigInt64(2, BigInt(value), true);
      this.out.append(bytes);
    }
  }

  text(value: string): void {
    const bytes = new TextEncoder().encode(value);
    const header = new Uint8Array(5);
    header[0] = 0x58;
    new DataView(header.buffer).setUint32(1, bytes.length, true);
    this.out.append(header);
    this.out.append(bytes);
  }

  /** Bytes, in the way of Python 3 for protocol 2. */
  bytes(value: Uint8Array): void {
    this.op('c_codecs\nencode\n(');
    this.text(Array.from(value, (byte) => String.fromCharCode(byte)).join(''));
    this.text('latin1');
    this.op('tR');
  }

  /** A dict; between the two calls keys and values alternate. */
  beginDict(): void {
    this.op('}(');
  }
  endDict(): void {
    this.op('u');
  }

  beginList(): void {
    this.op('](');
  }
  endList(): void {
    this.op('e');
  }

  /** A contiguous tensor over all of the storage with this key. */
  tensor(dtype: StoredDType, shape: readonly number[], key: string, byteLength: number, count: number): void {
    const storage = STORAGE_CLASSES[dtype];
    // Younger types have no storage class of their own: bytes, and the dtype beside them.
    this.op(storage ? 'ctorch._utils\n_rebuild_tensor_v2\n((' : 'ctorch._utils\n_rebuild_tensor_v3\n((');
    this.text('storage');
    this.op(storage ? `ctorch\n${storage}\n` : 'ctorch.storage\nUntypedStorage\n');
    this.text(key);
    this.text('cpu');
    this.number(storage ? count : byteLength);
    this.op('tQ');
    this.number(0);
    this.tuple(shape);
    this.tuple(shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * Math.max(1, b), 1)));
    this.bool(false);
    this.op('ccollections\nOrderedDict\n)R');
    if (!storage) this.op(`ctorch\n${dtype}\n`);
    this.op('tR');
  }

  done(): Uint8Array {
    this.op('.');
    return this.out.done();
  }

  private tuple(values: readonly number[]): void {
    this.op('(');
    for (const value of values) this.number(value);
    this.op('t');
  }

  private op(ascii: string): void {
    this.out.append(new TextEncoder().encode(ascii));
  }
}

/** Refuses what has no place in a checkpoint. */
export function notPlain(path: string, value: unknown): never {
  throw new InputError(
    `${path} is ${typeof value === 'object' ? 'an object with a class' : `a ${typeof value}`}; expected plain data.`,
  );
}
