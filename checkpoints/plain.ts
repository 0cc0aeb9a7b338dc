import type { TensorEntry } from './entry.js';

/** A Python object of a class we do not know, as data: what it was made from, never the object. */
export class InertObject {
  /** Full name, such as `argparse.Namespace`. */
  readonly class: string;
  readonly args: Plain[];
  readonly state: Plain;
  /** What a subclass of list or dict contained. */
  declare readonly items?: Plain;

  constructor(name: string, args: Plain[], state: Plain, items?: Plain) {
    this.class = name;
    this.args = args;
    this.state = state;
    if (items !== undefined) this.items = items;
  }
}

/** Data without behaviour. Integers beyond 2^53 are decimal strings; tensors are entries that read from the file. */
export type Plain =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | TensorEntry
  | InertObject
  | Plain[]
  | { [key: string]: Plain };

/** Whether a value is a tensor entry: the only plain data with methods. */
export function isTensorEntry(value: unknown): value is TensorEntry {
  return typeof value === 'object' && value !== null && typeof (value as TensorEntry).stream === 'function';
}
