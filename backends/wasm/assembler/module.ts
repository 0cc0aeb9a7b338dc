/** Functions and modules: structured control flow over the values of this assembler, encoded to bytes. */
import { memarg } from './scalar.js';
import {
  type F32,
  type F64,
  type I32,
  type Local,
  TYPE_CODES,
  type Type,
  toF32,
  toF64,
  toI32,
  unsigned,
  type V128,
  type Value,
  value,
} from './values.js';

/** A place that `br` can leave or repeat. */
export interface Label {
  readonly depth: number;
}

/** A function of the module. */
export interface Func {
  readonly index: number;
  readonly params: readonly Type[];
}

/** Writes the body of one function. */
export class FunctionBuilder {
  readonly params: Local[];
  private readonly locals: Type[] = [];
  private readonly body: number[] = [];
  private depth = 0;

  constructor(paramTypes: readonly Type[]) {
    this.params = paramTypes.map((type, index) => this.variable(type, index));
  }

  private variable<T extends Type>(type: T, index: number): Local<T> {
    return { ...value(type, [0x20], unsigned(index)), index };
  }

  emit(...parts: readonly (readonly number[])[]): void {
    for (const part of parts) for (const byte of part) this.body.push(byte);
  }

  /** A new local, 0 at the start of the function. */
  local<T extends Type>(type: T): Local<T> {
    this.locals.push(type);
    return this.variable(type, this.params.length + this.locals.length - 1);
  }

  /** A new local that holds `x` from here on. */
  let<T extends Type>(x: Value<T>): Local<T> {
    const local = this.local(x.type);
    this.set(local, x);
    return local;
  }

  /** A new integer local. */
  int(x: I32): Local<'i32'> {
    return this.let(toI32(x));
  }

  set<T extends Type>(local: Local<T>, x: Value<T>): void {
    this.emit(x.code, [0x21], unsigned(local.index));
  }

  setInt(local: Local<'i32'>, x: I32): void {
    this.set(local, toI32(x));
  }

  /** local += amount */
  bump(local: Local<'i32'>, amount: I32): void {
    this.emit(local.code, toI32(amount).code, [0x6a, 0x21], unsigned(local.index));
  }

  storeI32(address: I32, x: I32, offset = 0): void {
    this.emit(toI32(address).code, toI32(x).code, [0x36], memarg(2, offset));
  }

  storeI8(address: I32, x: I32, offset = 0): void {
    this.emit(toI32(address).code, toI32(x).code, [0x3a], memarg(0, offset));
  }

  storeI16(address: I32, x: I32, offset = 0): void {
    this.emit(toI32(address).code, toI32(x).code, [0x3b], memarg(1, offset));
  }

  storeF32(address: I32, x: F32, offset = 0): void {
    this.emit(toI32(address).code, toF32(x).code, [0x38], memarg(2, offset));
  }

  storeF64(address: I32, x: F64, offset = 0): void {
    this.emit(toI32(address).code, toF64(x).code, [0x39], memarg(3, offset));
  }

  storeV128(address: I32, x: V128, offset = 0): void {
    this.emit(toI32(address).code, x.code, [0xfd, 11], memarg(2, offset));
  }

  /** Stores one lane of 1, 2, 4 or 8 bytes. */
  storeLane(bytes: 1 | 2 | 4 | 8, address: I32, x: V128, lane: number, offset = 0): void {
    const log = Math.log2(bytes);
    this.emit(toI32(address).code, x.code, [0xfd, 88 + log], memarg(Math.min(log, 2), offset), [lane]);
  }

  private open(opcode: number): Label {
    this.emit([opcode, 0x40]);
    this.depth++;
    return { depth: this.depth };
  }

  private close(): void {
    this.emit([0x0b]);
    this.depth--;
  }

  block(body: (leave: Label) => void): void {
    const label = this.open(0x02);
    body(label);
    this.close();
  }

  loop(body: (again: Label) => void): void {
    const label = this.open(0x03);
    body(label);
    this.close();
  }

  if(test: I32, yes: () => void, no?: () => void): void {
    this.emit(toI32(test).code);
    this.open(0x04);
    yes();
    if (no) {
      this.emit([0x05]);
      no();
    }
    this.close();
  }

  br(label: Label): void {
    this.emit([0x0c], unsigned(this.depth - label.depth));
  }

  brIf(label: Label, test: I32): void {
    this.emit(toI32(test).code, [0x0d], unsigned(this.depth - label.depth));
  }

  return(): void {
    this.emit([0x0f]);
  }

  /** i from begin while i < end (signed), in steps; the body may read i. */
  for(begin: I32, end: I32, step: I32, body: (i: Local<'i32'>) => void): void {
    const i = this.int(begin);
    this.continueFor(i, end, step, () => body(i));
  }

  /** The same, going on from where i stands; afterwards i is the first value that was not < end. */
  continueFor(i: Local<'i32'>, end: I32, step: I32, body: () => void): void {
    const more: Value<'i32'> = value('i32', i.code, toI32(end).code, [0x48]);
    this.if(more, () => {
      this.loop((again) => {
        body();
        this.bump(i, step);
        this.brIf(again, more);
      });
    });
  }

  /** Runs the body `count` times. */
  repeat(count: I32, body: () => void): void {
    const left = this.int(count);
    this.if(value('i32', left.code, [0x41, 0, 0x4a]), () => {
      this.loop((again) => {
        body();
        this.bump(left, -1);
        this.brIf(again, left);
      });
    });
  }

  call(func: Func, ...args: readonly (Value | number)[]): void {
    this.emit(this.callCode(func, args));
  }

  /** A call whose result is used. */
  callValue<T extends Type>(type: T, func: Func, ...args: readonly (Value | number)[]): Value<T> {
    return value(type, this.callCode(func, args));
  }

  private callCode(func: Func, args: readonly (Value | number)[]): number[] {
    const codes = args.map((arg, i) => (typeof arg === 'number' ? constant(func.params[i], arg) : arg).code);
    return [...codes.flat(), 0x10, ...unsigned(func.index)];
  }

  /** The function's entry in the code section. */
  encode(): number[] {
    const runs: [number, Type][] = [];
    for (const type of this.locals) {
      const last = runs[runs.length - 1];
      if (last && last[1] === type) last[0]++;
      else runs.push([1, type]);
    }
    const head = [...unsigned(runs.length), ...runs.flatMap(([n, type]) => [...unsigned(n), TYPE_CODES[type]])];
    return [...unsigned(head.length + this.body.length + 1), ...head, ...this.body, 0x0b];
  }
}

function constant(type: Type, x: number): Value {
  if (type === 'f32') return toF32(x);
  if (type === 'f64') return toF64(x);
  return toI32(x);
}

/** The memory that a module works on. */
export interface MemoryType {
  readonly shared: boolean;
  readonly maximumPages: number;
}

/** A module that imports one memory as `env.memory`. */
export class ModuleBuilder {
  private readonly types: string[] = [];
  private readonly functions: { type: number; builder: FunctionBuilder }[] = [];
  private readonly exports: { name: string; index: number }[] = [];

  /** Adds a function; its result, if it has one, is what the body leaves on the stack last (`f.emit(x.code)`). */
  func(params: readonly Type[], result: Type | null, body: (f: FunctionBuilder) => void): Func {
    const type = [0x60, params.length, ...params.map((p) => TYPE_CODES[p])];
    if (result) type.push(1, TYPE_CODES[result]);
    else type.push(0);
    const key = type.join();
    let typeIndex = this.types.indexOf(key);
    if (typeIndex < 0) typeIndex = this.types.push(key) - 1;
    const builder = new FunctionBuilder(params);
    const index = this.functions.push({ type: typeIndex, builder }) - 1;
    body(builder);
    return { index, params };
  }

  export(name: string, func: Func): void {
    this.exports.push({ name, index: func.index });
  }

  encode(memory: MemoryType): Uint8Array {
    const name = (text: string): number[] => [...unsigned(text.length), ...[...text].map((c) => c.charCodeAt(0))];
    const limits = [memory.shared ? 3 : 1, ...unsigned(0), ...unsigned(memory.maximumPages)];
    const section = (id: number, items: readonly (readonly number[])[]): number[] => {
      const content = [...unsigned(items.length), ...items.flat()];
      return [id, ...unsigned(content.length), ...content];
    };
    return Uint8Array.from(
      [
        [0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
        section(
          1,
          this.types.map((t) => t.split(',').map(Number)),
        ),
        section(2, [[...name('env'), ...name('memory'), 2, ...limits]]),
        section(
          3,
          this.functions.map((f) => unsigned(f.type)),
        ),
        section(
          7,
          this.exports.map((e) => [...name(e.name), 0, ...unsigned(e.index)]),
        ),
        section(
          10,
          this.functions.map((f) => f.builder.encode()),
        ),
      ].flat(),
    );
  }
}
