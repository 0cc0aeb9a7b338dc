/** The few parts of the protobuf wire format that a SentencePiece model file uses, read within bounds. */

/** One field of a message: its number and its value. */
export interface Field {
  number: number;
  /** 0 varint, 1 eight bytes, 2 bytes with a length, 5 four bytes. */
  wire: 0 | 1 | 2 | 5;
  /** The low 32 bits of a varint, as a signed number; 0 for the other wire types. */
  int: number;
  /** Where the value of wire type 1, 2 or 5 begins and ends. */
  start: number;
  end: number;
}

/** Why the bytes are no protobuf message; whoever knows the file's name turns it into an InputError. */
export class WireError extends Error {}

/**
 * Calls `visit` for every field between `start` and `end`. The field object is used again for the next one.
 * Throws WireError where the bytes are no message.
 */
export function readFields(bytes: Uint8Array, start: number, end: number, visit: (field: Field) => void): void {
  const field: Field = { number: 0, wire: 0, int: 0, start: 0, end: 0 };
  let at = start;

  const varint = (): number => {
    let low = 0;
    for (let i = 0; i < 10; i++) {
      if (at >= end) throw new WireError('it ends in the middle of a number');
      const byte = bytes[at++];
      if (i < 5) low |= (byte & 0x7f) << (7 * i);
      if (byte < 0x80) return low;
    }
    throw new WireError('it has a number of more than ten bytes');
  };

  while (at < end) {
    const tag = varint();
    const wire = tag & 7;
    field.number = tag >>> 3;
    if (field.number === 0) throw new WireError('it has a field without a number');
    field.int = 0;
    if (wire === 0) {
      field.int = varint();
      field.start = field.end = at;
    } else if (wire === 1 || wire === 2 || wire === 5) {
      const length = wire === 2 ? varint() >>> 0 : wire === 1 ? 8 : 4;
      if (length > end - at) throw new WireError('it ends in the middle of a field');
      field.start = at;
      field.end = at += length;
    } else {
      throw new WireError(`it has a field of the unknown kind ${wire}`);
    }
    field.wire = wire;
    visit(field);
  }
}
