/** Steps that are recorded once and replayed: no op is called again, and one submission does it all. */
import type { Backend, Recording } from './backend.js';
import { defaultBackend } from './device.js';
import { intercept, ORDER } from './dispatch.js';
import { InputError } from './errors.js';
import { kindOf, sameShape } from './layout.js';
import { keep, type Storage, scope } from './memory.js';
import { empty, Tensor } from './tensor.js';
import { Trace } from './trace.js';
import { watched, watching } from './watch.js';

/** A function of tensors that is replayed once it is known. */
export interface CapturedStep<A extends readonly Tensor[], R> {
  (...args: A): R;
  /** What is replayed; null until the step is captured, and on backends that gain nothing from replaying. */
  readonly recording: { readonly commands: number } | null;
  /** Frees everything that the step keeps. Its results are their owner's. */
  dispose(): void;
  [Symbol.dispose](): void;
}

/** Runs in which a step may still do other things than before: state is made at first use. */
const MOST_WARM_UPS = 3;

/**
 * Makes a step of static shapes cheap: an inference, or a whole training step with backward, clipping, the optimiser and
 * dropout. The first call runs `fn`; as soon as a call does what the one before did, it is recorded, and all further
 * calls replay it without running `fn`, bit for bit as if it had run. Usually the second call is recorded; the third where
 * the first makes state (an optimiser's moments). Backends that do not record run `fn` each time, with the same checks.
 *
 * Arguments are tensors, of the same number, shape, dtype and backend in each call; their values are copied in. Results
 * are tensors in arrays, plain objects or maps; they are the caller's, without history, and new in each call. What else
 * changes from step to step: AdamW's learning rate `optimiser.lr`, counts of steps, the scale of `scaler.scaleLoss` and of
 * `optimiser.step({ scale: () => scaler.scale })`, and what `dropout` and `DropPath` draw from their generators. Everything
 * else that `fn` takes from JavaScript is frozen.
 *
 * Throws an InputError for: another number, shape, dtype or backend of arguments; arguments that collect gradients, that
 * the step writes into, or that share memory with what it writes; reading a value inside; a number from JavaScript that
 * differs between calls; a tensor from outside that was freed or replaced; gradients and other tensors that are left
 * behind; an asynchronous function; and a captured step inside another.
 */
export function capture<A extends readonly Tensor[], R>(fn: (...args: A) => R): CapturedStep<A, R> {
  const step = new Step(fn as (...args: readonly Tensor[]) => R);
  const call = (...args: A): R => step.call(args);
  return Object.defineProperties(call, {
    recording: { get: () => step.recording },
    dispose: { value: () => step.dispose() },
    [Symbol.dispose]: { value: () => step.dispose() },
  }) as CapturedStep<A, R>;
}

/** Results with tensors replaced, in arrays, plain objects and maps. */
function mapTensors(
  value: unknown,
  change: (t: Tensor) => Tensor,
  plain: (value: unknown) => void = () => {},
): unknown {
  if (value instanceof Tensor) return change(value);
  if (Array.isArray(value)) return value.map((v) => mapTensors(v, change, plain));
  if (value instanceof Map) return new Map([...value].map(([k, v]) => [k, mapTensors(v, change, plain)]));
  if (typeof value === 'object' && value !== null) {
    if (Object.getPrototypeOf(value) !== Object.prototype) {
      throw new InputError(
        `A captured step expects tensors, numbers, arrays, plain objects or maps as results, got ${value.constructor?.name ?? kindOf(value)}.`,
      );
    }
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, mapTensors(v, change, plain)]));
  }
  plain(value);
  return value;
}

/** A step that is known. */
interface Replay {
  readonly trace: Trace;
  readonly recording: Recording;
  /** What the recorded run returned, filled by each replay. */
  readonly results: unknown;
  /** Memory that the next replay writes over. */
  readonly own: ReadonlySet<Storage>;
}

class Step<R> {
  #inputs: readonly Tensor[] | null = null;
  #backend: Backend | null = null;
  /** The run before, while nothing is replayed. */
  #trace: Trace | null = null;
  #replay: Replay | null = null;
  /** Whether two runs were alike. */
  #settled = false;
  #warmUps = 0;
  #disposed = false;

  constructor(private readonly fn: (...args: readonly Tensor[]) => R) {}

  get recording(): { readonly commands: number } | null {
    return this.#replay?.recording ?? null;
  }

  call(args: readonly Tensor[]): R {
    if (this.#disposed) throw new InputError('This captured step was disposed of; capture the function again.');
    if (watching())
      throw new InputError('A captured step was called inside another one; call its function itself there.');
    const inputs = this.#check(args);
    const replay = this.#replay;
    if (replay) expectSound(replay.trace, args);
    args.forEach((t, i) => {
      t.backend.copy(t.view(), inputs[i].view());
    });
    if (!replay) return this.#run(inputs, args);
    replay.trace.renew(replay.recording);
    replay.recording.replay();
    return this.#give(replay);
  }

  /** The step's copies of the arguments, made at the first call. */
  #check(args: readonly Tensor[]): readonly Tensor[] {
    args.forEach((t, i) => {
      if (!(t instanceof Tensor))
        throw new InputError(`A captured step expects tensors as arguments, got ${kindOf(t)} as argument ${i + 1}.`);
      t.view();
      if (t.requiresGrad)
        throw new InputError(
          `Argument ${i + 1} of a captured step, ${t}, collects gradients, which a replay could not; close over it instead of passing it.`,
        );
    });
    const inputs = this.#inputs;
    if (inputs === null) {
      this.#backend = args[0]?.backend ?? defaultBackend();
      this.#inputs = args.map((t) => keep(empty(t.shape, t.dtype, t.backend)));
      return this.#inputs;
    }
    if (args.length !== inputs.length)
      throw new InputError(`This step was captured with ${inputs.length} arguments, got ${args.length}.`);
    args.forEach((t, i) => {
      const known = inputs[i];
      if (sameShape(t.shape, known.shape) && t.dtype === known.dtype && t.backend === known.backend) return;
      const [was, is] =
        t.backend === known.backend ? [`${known}`, `${t}`] : [known, t].map((x) => `${x} on ${x.backend.name}`);
      throw new InputError(
        `This step was captured with ${was} as argument ${i + 1}, got ${is}; capture the function again for other arguments.`,
      );
    });
    return inputs;
  }

  /** Runs `fn`, and records it when a run before is known. */
  #run(inputs: readonly Tensor[], args: readonly Tensor[]): R {
    const before = this.#trace;
    const recording = (before && (this.#backend as Backend).record?.()) ?? null;
    const trace = new Trace(
      inputs.map((t) => t.storage),
      recording,
    );
    const remove = intercept(ORDER.capture, trace.call);
    let results: unknown = null;
    try {
      results = watched(trace, () => scope(() => this.#harvest(trace, inputs)));
      recording?.end();
      const isKnown = this.#judge(trace, before, args, storagesOf(results));
      this.#trace = trace;
      if (isKnown && recording) {
        mapTensors(results, keep);
        const own = new Set([...storagesOf(results)].filter((s) => trace.wasMade(s)));
        for (const t of inputs) own.add(t.storage);
        trace.settle(false);
        this.#trace = null;
        this.#replay = { trace, recording, results, own };
        return this.#give(this.#replay);
      }
      recording?.dispose();
      trace.settle(true);
      return mapTensors(results, (t) => {
        if (!inputs.some((x) => x.storage === t.storage)) return t;
        const copy = copyOf(t);
        t.dispose();
        return copy;
      }) as R;
    } catch (error) {
      mapTensors(results, (t) => {
        t.dispose();
        return t;
      });
      recording?.dispose();
      this.#reset();
      throw error;
    } finally {
      remove();
    }
  }

  /** Calls `fn`; its tensors as handles without history. */
  #harvest(trace: Trace, inputs: readonly Tensor[]): unknown {
    const result: unknown = this.fn(...inputs);
    if (result instanceof Promise) {
      result.catch(() => {});
      throw new InputError(
        'A captured step expects a synchronous function, got one that returns a Promise; read its results after the step.',
      );
    }
    if (trace.failure) throw trace.failure;
    trace.finish();
    return mapTensors(
      result,
      (t) => t.detach(),
      (value) => trace.result(value),
    );
  }

  /** Whether replays would do what a run does. Throws for what would make them wrong. */
  #judge(trace: Trace, before: Trace | null, args: readonly Tensor[], results: ReadonlySet<Storage>): boolean {
    expectUnshared(trace, args);
    if (!before) return false;
    const difference = trace.differs(before);
    if (difference?.kind === 'numbers') {
      throw new InputError(
        `A number changed between two calls of a captured step: ${difference.text}; a replay would repeat it, so pass it as a tensor.`,
      );
    }
    if (difference) {
      if (!this.#settled && ++this.#warmUps < MOST_WARM_UPS) return false;
      throw new InputError(`A captured step must do the same in each call, but ${difference.text}.`);
    }
    const left = trace.left(results);
    if (left > 0) {
      throw new InputError(
        `A captured step left ${left === 1 ? 'a tensor' : `${left} tensors`} behind, which a replay could not; return what it makes, or free it there (gradients with optimiser.zeroGrad()).`,
      );
    }
    const [lost] = trace.lost;
    if (lost !== undefined)
      throw new InputError(
        `A captured step freed ${lost} from outside of it, which a replay could not; free it outside.`,
      );
    this.#settled = true;
    return true;
  }

  /** The results of a replay for the caller: copies of what it has made, new handles on what was there before. */
  #give({ results, own }: Replay): R {
    return mapTensors(results, (t) => (own.has(t.storage) ? copyOf(t) : t.detach())) as R;
  }

  /** As if it had never been called. */
  #reset(): void {
    for (const t of this.#inputs ?? []) t.dispose();
    this.#inputs = this.#backend = this.#trace = null;
    this.#settled = false;
    this.#warmUps = 0;
  }

  dispose(): void {
    this.#disposed = true;
    this.#reset();
    if (!this.#replay) return;
    const { results, recording } = this.#replay;
    this.#replay = null;
    mapTensors(results, (t) => {
      t.dispose();
      return t;
    });
    recording.dispose();
  }
}

function storagesOf(results: unknown): Set<Storage> {
  const found = new Set<Storage>();
  mapTensors(results, (t) => {
    found.add(t.storage);
    return t;
  });
  return found;
}

function copyOf(t: Tensor): Tensor {
  const copy = empty(t.shape, t.dtype, t.backend);
  t.backend.copy(t.view(), copy.view());
  return copy;
}

/** What a replay relies on is still there, and no argument is what it writes. */
function expectSound(trace: Trace, args: readonly Tensor[]): void {
  const [lost] = trace.lost;
  if (lost !== undefined) {
    throw new InputError(
      `A captured step uses ${lost}, which was freed or replaced since; change such tensors with assign, or capture the function again.`,
    );
  }
  expectUnshared(trace, args);
}

function expectUnshared(trace: Trace, args: readonly Tensor[]): void {
  args.forEach((t, i) => {
    if (trace.mutates(t.storage)) {
      throw new InputError(
        `Argument ${i + 1} of a captured step, ${t}, shares memory with what the step writes; pass a copy of it, or close over it.`,
      );
    }
  });
}
