/** One run of a step, written down: its calls for comparison with another run, and what a replay has to do anew. */
import type { Attrs, Recording } from './backend.js';
import type { Call, Next } from './dispatch.js';
import { InputError } from './errors.js';
import { formatShape } from './layout.js';
import type { Storage } from './memory.js';
import { wordsOf } from './random.js';
import type { Tensor } from './tensor.js';
import type { KernelRun, Stream, Watcher } from './watch.js';

/** A call, as far as the next run must repeat it. */
interface Entry {
  readonly name: string;
  readonly operands: string;
  /** Numbers that must not change; those of a varying call are its constants. */
  readonly attrs: Attrs;
}

/** Where a stream of random numbers stood at its first use. */
interface Base {
  readonly seed: number;
  readonly counter: number;
}

/** Part of a reservation of random words, by identity of the array that attributes carry. */
interface Drawn {
  readonly stream: Stream;
  readonly part: 'key' | 'counter';
  /** Counter less that of the base. */
  readonly offset: number;
}

interface Varying {
  readonly current: () => Attrs;
  readonly constants: Attrs;
}

/** What differs between two runs: other operations, or the same with other numbers. */
export interface Difference {
  readonly kind: 'operations' | 'numbers';
  readonly text: string;
}

export class Trace implements Watcher {
  readonly #entries: Entry[] = [];
  readonly #bases = new Map<Stream, Base>();
  readonly #ends = new Map<Stream, number>();
  readonly #drawn = new Map<object, Drawn>();
  readonly #varying = new Map<Attrs, Varying>();
  readonly #updates: (() => void)[] = [];
  /** What a replay starts again with new numbers, in order. */
  readonly #renewals: ((recording: Recording) => void)[] = [];
  /** Memory made in the run. */
  readonly #made = new Set<Storage>();
  /** Memory from before, and where it was met first. */
  readonly #external = new Map<Storage, string>();
  readonly #mutated = new Set<Storage>();
  #makesFresh = false;
  #failure: Error | null = null;

  /**
   * @param inputs the step's own copies of its arguments
   * @param recording null where nothing is recorded
   */
  constructor(
    private readonly inputs: readonly Storage[],
    private readonly recording: Recording | null,
  ) {}

  /** What went wrong, even if the step has caught it. */
  get failure(): Error | null {
    return this.#failure;
  }

  #fail(message: string): InputError {
    const error = new InputError(message);
    this.#failure ??= error;
    return error;
  }

  /** The interceptor of calls. */
  readonly call = (call: Call, next: Next): Tensor[] => {
    const { op, inputs, attrs } = call;
    const operands = inputs.map((t) => (t ? `${t.dtype}${formatShape(t.shape)}` : '-')).join(' ');
    this.#entries.push({ name: op.name, operands, attrs: this.#varying.get(attrs)?.constants ?? attrs });
    for (const t of inputs) {
      if (!t || this.#made.has(t.storage) || this.inputs.includes(t.storage) || this.#external.has(t.storage)) continue;
      this.#external.set(t.storage, `${t} (an operand of ${op.name})`);
    }
    for (const i of op.mutates?.(attrs) ?? []) {
      const target = inputs[i];
      if (!target) continue;
      if (this.inputs.includes(target.storage)) {
        throw this.#fail(
          `A captured step got ${target} as an argument and writes into it (${op.name}); close over the tensor instead of passing it.`,
        );
      }
      if (!this.#made.has(target.storage)) this.#mutated.add(target.storage);
    }
    return next(call);
  };

  kernel(run: KernelRun, start: () => void): void {
    const renewed = this.recording && this.#renewing(run.attrs);
    if (renewed && this.recording) {
      const { kernel, inputs, specs, outputs } = run;
      const { position } = this.recording;
      this.#renewals.push((recording) =>
        recording.refresh(position, () => {
          const again = kernel.plan(inputs, renewed(), specs);
          if (again === null) throw new Error('a kernel of a captured step does not take its new numbers');
          again(outputs);
        }),
      );
    }
    start();
  }

  /** How attributes are made anew; null when they stay. */
  #renewing(attrs: Attrs): (() => Attrs) | null {
    const varying = this.#varying.get(attrs);
    if (varying) return varying.current;
    const drawn = Object.entries(attrs).flatMap(([name, value]) => {
      const found = this.#drawn.get(value as object);
      return found ? [[name, found] as const] : [];
    });
    if (drawn.length === 0) return null;
    return () => ({ ...attrs, ...Object.fromEntries(drawn.map(([name, d]) => [name, this.#wordsNow(d)])) });
  }

  #wordsNow({ stream, part, offset }: Drawn): readonly [number, number] {
    const base = this.#starts.get(stream) as Base;
    return wordsOf(part === 'key' ? base.seed : base.counter + offset);
  }

  /** Where the streams stood when the replay began. */
  readonly #starts = new Map<Stream, Base>();

  made(storage: object): void {
    this.#made.add(storage as Storage);
  }

  values(bytes: Uint8Array): void {
    if (this.#makesFresh) return;
    this.#entries.push({ name: 'tensor', operands: `${bytes.length} bytes`, attrs: { values: digest(bytes) } });
  }

  reserved(stream: Stream, key: object, counter: object, before: number): void {
    const { seed } = stream.state();
    let base = this.#bases.get(stream);
    if (!base) {
      base = { seed, counter: before };
      this.#bases.set(stream, base);
    }
    if (seed !== base.seed || before < base.counter)
      throw this.#fail(
        'A random generator was seeded inside a captured step, which would repeat its numbers; seed it outside.',
      );
    this.#drawn.set(key, { stream, part: 'key', offset: 0 });
    this.#drawn.set(counter, { stream, part: 'counter', offset: before - base.counter });
  }

  drawing(): void {
    if (this.#makesFresh) return;
    throw this.#fail(
      'Random numbers were drawn on the host inside a captured step, which would repeat them; draw them outside and pass them as an argument, or use dropout.',
    );
  }

  reading(what: string): Error {
    return this.#fail(
      `A value was read (${what}) inside a captured step, which never waits; return the tensor and read it after the step.`,
    );
  }

  onReplay(update: () => void): void {
    this.#updates.push(update);
  }

  varying(attrs: Attrs, current: () => Attrs, constants: Attrs): void {
    this.#varying.set(attrs, { current, constants });
  }

  fresh<T>(make: () => T): T {
    const before = this.#makesFresh;
    this.#makesFresh = true;
    try {
      // The streams that `make` draws from stand where they stood, seen from where the replay begins.
      const offsets = new Map([...this.#bases].map(([s, b]) => [s, s.state().counter - b.counter]));
      const position = this.recording?.position ?? 0;
      const made = make();
      this.#renewals.push((recording) => {
        for (const [stream, offset] of offsets) this.#place(stream, offset);
        recording.refresh(position, () => (make() as { dispose?(): void }).dispose?.());
      });
      return made;
    } finally {
      this.#makesFresh = before;
    }
  }

  #place(stream: Stream, offset: number): void {
    const { seed, counter } = this.#starts.get(stream) as Base;
    stream.restore({ seed, counter: counter + offset });
  }

  /** Gives what varies its values of now, and lets time go on for streams and counters. */
  renew(recording: Recording): void {
    for (const update of this.#updates) update();
    for (const stream of this.#bases.keys()) this.#starts.set(stream, stream.state());
    for (const renewal of this.#renewals) renewal(recording);
    for (const [stream, end] of this.#ends) this.#place(stream, end);
    for (const storage of this.#mutated) storage.change();
  }

  /** Tensors from before the run that do not exist any more. */
  get lost(): string[] {
    return [...this.#external].flatMap(([storage, text]) => (storage.freed ? [text] : []));
  }

  /** Whether the run writes into memory from before it. */
  mutates(storage: Storage): boolean {
    return this.#mutated.has(storage);
  }

  wasMade(storage: Storage): boolean {
    return this.#made.has(storage);
  }

  /** How many tensors that were made in the run are still there, besides these. */
  left(results: ReadonlySet<Storage>): number {
    let n = 0;
    for (const storage of this.#made) if (!storage.freed && !results.has(storage)) n++;
    return n;
  }

  /** Notes a value that is no tensor among the results. */
  result(value: unknown): void {
    this.#entries.push({ name: 'the result', operands: '', attrs: { value } });
  }

  /** How this run differs from one before it; null when a replay of either is as good. */
  differs(before: Trace): Difference | null {
    const [was, is] = [before.#entries, this.#entries];
    for (let i = 0; i < Math.max(was.length, is.length); i++) {
      const [a, b] = [was[i], is[i]];
      if (a && b && a.name === b.name && a.operands === b.operands) continue;
      const show = (e: Entry | undefined) => (e ? `${e.name}(${e.operands})` : 'nothing');
      return { kind: 'operations', text: `${show(b)} follows where ${show(a)} did before, as operation ${i + 1}` };
    }
    for (const [i, b] of is.entries()) {
      const a = was[i];
      const found = this.#changed(before, a.attrs, b.attrs, '');
      if (found) return { kind: 'numbers', text: `${found.path} of ${b.name} was ${found.was} and is ${found.is}` };
    }
    return null;
  }

  /** The first place where plain data differ; reservations of random words are equal when they stand at the same place. */
  #changed(before: Trace, was: unknown, is: unknown, path: string): { path: string; was: string; is: string } | null {
    if (Object.is(was, is)) return null;
    const isObject = (v: unknown): v is object => typeof v === 'object' && v !== null;
    if (isObject(was) && isObject(is)) {
      const [a, b] = [before.#drawn.get(was), this.#drawn.get(is)];
      if (a && b && a.stream === b.stream && a.part === b.part && a.offset === b.offset) return null;
      const names = new Set([...Object.keys(was), ...Object.keys(is)]);
      for (const name of names) {
        const [x, y] = [was, is].map((o) => (o as Record<string, unknown>)[name]);
        const found = this.#changed(
          before,
          x,
          y,
          Array.isArray(is) ? `${path}[${name}]` : path ? `${path}.${name}` : name,
        );
        if (found) return found;
      }
      return null;
    }
    return { path: path || 'a value', was: String(was), is: String(is) };
  }

  /** Call when the run is over: where the streams stand then, they stand after a replay. */
  finish(): void {
    for (const [stream, base] of this.#bases) this.#ends.set(stream, stream.state().counter - base.counter);
  }

  /** Lets go of what the run has made, and of what only comparisons need unless there are `more`. */
  settle(more: boolean): void {
    this.#made.clear();
    if (!more) this.#entries.length = 0;
  }
}

/** FNV-1a over the bytes. */
function digest(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i], 0x01000193);
  return hash >>> 0;
}
