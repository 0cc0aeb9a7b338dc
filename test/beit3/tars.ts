/** Tar archives for tests. */
import { Buffer } from 'node:buffer';

export interface Member {
  readonly name: string;
  readonly bytes: Uint8Array | string;
  /** Of the header; '0' is a regular file. */
  readonly kind?: string;
}

function header(name: string, size: number, kind: string): Buffer {
  const block = Buffer.alloc(512);
  block.write(name.slice(0, 100), 0);
  block.write('0000644\0', 100);
  block.write(`${size.toString(8).padStart(11, '0')}\0`, 124);
  block.write('        ', 148);
  block.write(kind, 156);
  block.write('ustar\u000000', 257);
  const sum = block.reduce((a, b) => a + b, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

/** An archive; names of more than 100 characters get a record of GNU before them. */
export function tarOf(members: readonly Member[]): Buffer {
  const parts: Buffer[] = [];
  const add = (name: string, bytes: Buffer, kind: string): void => {
    parts.push(header(name, bytes.length, kind), bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512));
  };
  for (const { name, bytes, kind = '0' } of members) {
    if (name.length > 100) add('././@LongLink', Buffer.from(`${name}\0`), 'L');
    add(name, Buffer.from(bytes as Uint8Array), kind);
  }
  parts.push(Buffer.alloc(1024));
  return Buffer.concat(parts);
}
