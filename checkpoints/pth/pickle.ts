import { InputError } from '../../core/errors.js';

/** A class or function that a pickle names. It is only ever a name. */
export class PyGlobal {
  constructor(
    readonly module: string,
    readonly name: string,
  ) {}
  get path(): string {
    return `${this.module}.${this.name}`;
  }
}

/** An object of a class without a meaning here: its constructor's arguments and its state. */
export class PyObject {
  state: unknown = null;
  list: unknown[] | null = null;
  dict: Map<unknown, unknown> | null = null;
  constructor(
    readonly type: PyGlobal,
    readonly args: unknown[],
  ) {}
}

/** What the machine leaves to its owner. Each returns inert data. */
export interface PickleHooks {
  /** A class or function is called, or an object of a class made. */
  call(callable: PyGlobal, args: unknown[]): unknown;
  /** An object gets its state. */
  build(object: unknown, state: unknown): void;
  /** A reference to something outside the pickle (a storage). */
  persistent(id: unknown): unknown;
}

/** The bytes given end before the pickle does; with more of them it may succeed. */
export class PickleEnd extends InputError {}

/** Every instruction costs 1, a dict some 16 times as much memory: about 300 MB at worst. */
const MAX_COST = 8_000_000;
const DICT_COST = 16;
const MAX_INTEGER_BYTES = 256;

const MARK = Symbol('mark');

/**
 * Runs one pickle (protocols 0 to 5) as data. Python lists, tuples and sets become arrays, dicts become Maps, integers
 * beyond 2^53 bigint, byte strings Uint8Array, text of Python 2 a string of its bytes (latin-1).
 * @returns the object and where the pickle ended
 */
export function unpickle(
  bytes: Uint8Array,
  start: number,
  hooks: PickleHooks,
  what: string,
): { value: unknown; end: number } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const utf8 = new TextDecoder();
  const stack: unknown[] = [];
  const memo = new Map<number, unknown>();
  let at = start;
  let cost = 0;

  const bad = (why: string): never => {
    throw new InputError(`${what} holds a damaged pickle: ${why}; get it again.`);
  };
  const advance = (count: number): number => {
    if (at + count > bytes.length) throw new PickleEnd(`${what} is truncated inside its pickle; get it again.`);
    at += count;
    return at - count;
  };
  const u8 = (): number => bytes[advance(1)];
  const u16 = (): number => view.getUint16(advance(2), true);
  const u32 = (): number => view.getUint32(advance(4), true);
  const u64 = (): number => {
    const value = Number(view.getBigUint64(advance(8), true));
    return Number.isSafeInteger(value) ? value : bad('a length is out of range');
  };
  const raw = (count: number): Uint8Array => bytes.subarray(advance(count), at);
  const text = (count: number): string => utf8.decode(raw(count));
  const latin = (data: Uint8Array): string => {
    let out = '';
    for (let i = 0; i < data.length; i += 4096) out += String.fromCharCode(...data.subarray(i, i + 4096));
    return out;
  };
  const line = (): string => {
    const end = bytes.indexOf(10, at);
    if (end < 0) advance(bytes.length - at + 1);
    const value = latin(raw(end - at));
    at++;
    return value;
  };
  const pop = (): unknown => {
    const value = stack.length > 0 ? stack.pop() : bad('its stack is empty');
    return value === MARK ? bad('a mark is misplaced') : value;
  };
  const top = (): unknown => (stack.length > 0 ? stack[stack.length - 1] : bad('its stack is empty'));
  const toMark = (): unknown[] => {
    const mark = stack.lastIndexOf(MARK);
    if (mark < 0) bad('a mark is missing');
    const items = stack.splice(mark);
    items.shift();
    return items;
  };
  const popMany = (count: number): unknown[] => Array.from({ length: count }, pop).reverse();
  const push = (value: unknown): void => void stack.push(value);
  const dict = (): Map<unknown, unknown> => {
    cost += DICT_COST;
    return new Map();
  };
  const get = (index: number): void => push(memo.has(index) ? memo.get(index) : bad('it refers to nothing'));
  const put = (index: number): void => {
    cost++;
    memo.set(index, top());
  };
  const bigint = (data: Uint8Array): number | bigint => {
    if (data.length > MAX_INTEGER_BYTES) bad('an integer is too long');
    let value = 0n;
    for (let i = data.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(data[i]);
    return integer(BigInt.asIntN(data.length * 8, value));
  };
  const decimal = (digits: string): number | bigint => {
    if (!/^-?\d{1,600}$/.test(digits)) bad('an integer is not one');
    return integer(BigInt(digits));
  };
  const named = (module: unknown, name: unknown): PyGlobal =>
    typeof module === 'string' && typeof name === 'string' ? new PyGlobal(module, name) : bad('a name is not text');
  const call = (callable: unknown, args: unknown): unknown => {
    cost += DICT_COST;
    if (!(callable instanceof PyGlobal)) bad('it calls something that is not a class or function');
    if (!Array.isArray(args)) bad('the arguments of a call are not a tuple');
    return hooks.call(callable as PyGlobal, args as unknown[]);
  };
  const extend = (items: unknown[]): void => {
    const list = top();
    if (Array.isArray(list)) for (const item of items) list.push(item);
    else if (list instanceof PyObject) for (const item of items) (list.list ??= []).push(item);
    else bad('it appends to something that is not a list');
  };
  const setItems = (items: unknown[]): void => {
    const object = top();
    if (items.length % 2 !== 0) bad('a key has no value');
    if (object instanceof PyObject) object.dict ??= dict();
    const map = object instanceof PyObject ? object.dict : object;
    if (!(map instanceof Map)) bad('it sets items of something that is not a dict');
    else for (let i = 0; i < items.length; i += 2) map.set(items[i], items[i + 1]);
  };

  for (;;) {
    if (++cost > MAX_COST) bad('it makes too many objects');
    const opcode = String.fromCharCode(u8());
    switch (opcode) {
      case '.': {
        const value = pop();
        return { value, end: at };
      }
      case '\x80':
        if (u8() > 5) bad('its protocol is newer than 5');
        break;
      case '\x95':
        advance(8);
        break;
      case '(':
        push(MARK);
        break;
      case '0':
        if (stack.length === 0) bad('its stack is empty');
        stack.pop();
        break;
      case '1':
        toMark();
        break;
      case '2':
        push(top());
        break;
      case 'N':
        push(null);
        break;
      case '\x88':
        push(true);
        break;
      case '\x89':
        push(false);
        break;
      case 'I': {
        const value = line();
        push(value === '00' ? false : value === '01' ? true : decimal(value.trim()));
        break;
      }
      case 'L':
        push(decimal(line().trim().replace(/L$/, '')));
        break;
      case 'K':
        push(u8());
        break;
      case 'M':
        push(u16());
        break;
      case 'J':
        push(view.getInt32(advance(4), true));
        break;
      case '\x8a':
        push(bigint(raw(u8())));
        break;
      case '\x8b':
        push(bigint(raw(u32())));
        break;
      case 'F':
        push(Number(line()));
        break;
      case 'G':
        push(view.getFloat64(advance(8), false));
        break;
      case 'S':
        push(unquote(line(), bad));
        break;
      case 'V':
        push(line().replace(/\\u([0-9a-f]{4})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16))));
        break;
      case 'T':
        push(latin(raw(u32())));
        break;
      case 'U':
        push(latin(raw(u8())));
        break;
      case 'X':
        push(text(u32()));
        break;
      case '\x8c':
        push(text(u8()));
        break;
      case '\x8d':
        push(text(u64()));
        break;
      case 'B':
        push(raw(u32()));
        break;
      case 'C':
        push(raw(u8()));
        break;
      case '\x8e':
      case '\x96':
        push(raw(u64()));
        break;
      case ']':
      case ')':
      case '\x8f':
        push([]);
        break;
      case '}':
        push(dict());
        break;
      case 'l':
      case 't':
      case '\x91':
        push(toMark());
        break;
      case '\x85':
        push(popMany(1));
        break;
      case '\x86':
        push(popMany(2));
        break;
      case '\x87':
        push(popMany(3));
        break;
      case 'd': {
        const items = toMark();
        push(dict());
        setItems(items);
        break;
      }
      case 'a':
        extend([pop()]);
        break;
      case 'e':
      case '\x90':
        extend(toMark());
        break;
      case 's':
        setItems(popMany(2));
        break;
      case 'u':
        setItems(toMark());
        break;
      case 'p':
        put(Number(line()));
        break;
      case 'q':
        put(u8());
        break;
      case 'r':
        put(u32());
        break;
      case '\x94':
        put(memo.size);
        break;
      case 'g':
        get(Number(line()));
        break;
      case 'h':
        get(u8());
        break;
      case 'j':
        get(u32());
        break;
      case 'c': {
        const module = line();
        push(named(module, line()));
        break;
      }
      case '\x93':
        push(named(...(popMany(2) as [unknown, unknown])));
        break;
      case 'R':
      case '\x81': {
        const [callable, args] = popMany(2);
        push(call(callable, args));
        break;
      }
      case '\x92': {
        const [callable, args, named] = popMany(3);
        // Charged: one long tuple may be named a million times.
        if (Array.isArray(args)) cost += args.length;
        push(call(callable, Array.isArray(args) ? [...args, named] : args));
        break;
      }
      case 'i': {
        const module = line();
        const callable = named(module, line());
        push(call(callable, toMark()));
        break;
      }
      case 'o': {
        const [callable, ...args] = toMark();
        push(call(callable, args));
        break;
      }
      case 'b': {
        const [object, state] = popMany(2);
        hooks.build(object, state);
        push(object);
        break;
      }
      case 'P':
        push(hooks.persistent(line()));
        break;
      case 'Q':
        push(hooks.persistent(pop()));
        break;
      default:
        bad(`it uses the unknown opcode 0x${opcode.charCodeAt(0).toString(16).padStart(2, '0')}`);
    }
  }
}

function integer(value: bigint): number | bigint {
  const exact = Number(value);
  return Number.isSafeInteger(exact) ? exact : value;
}

/** A Python 2 string literal; PyTorch never wrote one that needs escapes. */
function unquote(literal: string, bad: (why: string) => never): string {
  return /^(['"])[^\\]*\1$/.test(literal) ? literal.slice(1, -1) : bad('a text has escapes');
}
