/** Where the time goes: every kernel with its operations and bytes, in a table and as a Chrome trace. */
import { type Backend, type Ceilings, type KernelTimer, MOST_KERNELS, type TimedKernel } from './backend.js';
import { type Call, intercept, type Next, ORDER } from './dispatch.js';
import { bytesOf } from './dtype.js';
import { sizeOf } from './layout.js';
import type { Operand } from './op.js';
import type { Tensor } from './tensor.js';

/** All calls of one op that started kernels by themselves; what composed ops do counts for what they call. */
export interface ProfileRow {
  readonly op: string;
  readonly calls: number;
  readonly launches: number;
  readonly milliseconds: number;
  /** Floating-point operations; 0 for ops that move data. */
  readonly flops: number;
  /** Bytes of operands and results. */
  readonly bytes: number;
  /** Operations a second, and bytes a second. */
  readonly flopRate: number;
  readonly byteRate: number;
  /** Of the hardware's ceilings, from 0 to 1; null where these are not known. */
  readonly flopShare: number | null;
  readonly byteShare: number | null;
}

export interface Profile {
  /** Name of the backend that computed. */
  readonly backend: string;
  /** Whether the device measured its kernels; otherwise the calls were measured on the host. */
  readonly measuredOn: 'device' | 'host';
  /** From the start of the profile to its end. */
  readonly milliseconds: number;
  /** The slowest first. */
  readonly rows: readonly ProfileRow[];
  readonly ceilings: Ceilings | null;
  /** Whether there was more than a profile holds: then it is of the beginning. */
  readonly isCut: boolean;
  /** The text of a file for chrome://tracing or Perfetto. */
  readonly trace: string;
}

/** One call, as it was seen on the host. */
interface Seen {
  readonly op: string;
  readonly start: number;
  end: number;
  launches: number;
  /** Whether other calls inside this one did its work. */
  isComposed: boolean;
  readonly flops: number;
  bytes: number;
  readonly half: boolean;
}

/** Calls that are kept: of more, a trace is larger than what a browser opens. */
const MOST_CALLS = 500_000;

export class Profiler {
  readonly #began = performance.now();
  readonly #calls: Seen[] = [];
  readonly #open: number[] = [];
  readonly #remove: () => void;
  #backend: Backend | null = null;
  #timer: KernelTimer | null = null;
  /** What came of it, when the profile was full. */
  #stopped: { readonly kernels: Promise<readonly TimedKernel[]> | null; readonly at: number } | null = null;

  /** Profiles the calls from now on, on the backend that computes first; at most so many. */
  constructor(private readonly mostCalls = MOST_CALLS) {
    this.#remove = intercept(ORDER.profiler, (call, next) => this.#call(call, next));
  }

  #call(call: Call, next: Next): Tensor[] {
    const { op, inputs, attrs } = call;
    const given = inputs.find((t) => t !== null)?.backend;
    if (given && !this.#backend) {
      this.#backend = given;
      this.#timer = given.timeKernels?.() ?? null;
    }
    const backend = this.#backend;
    if (!backend || (given && given !== backend)) return next(call);
    const index = this.#calls.length;
    if (index === this.mostCalls) {
      this.#halt();
      return next(call);
    }
    const { launches } = backend.stats;
    const seen: Seen = {
      op: op.name,
      start: performance.now(),
      end: 0,
      launches: 0,
      isComposed: false,
      flops: op.cost?.(inputs, attrs) ?? 0,
      bytes: bytesOfAll(inputs),
      half: inputs.some((t) => t?.dtype === 'float16'),
    };
    this.#calls.push(seen);
    this.#open.push(index);
    this.#timer?.mark(index);
    try {
      const outputs = next(call);
      seen.bytes += bytesOfAll(outputs) + bytesOfAll((op.mutates?.(attrs) ?? []).map((i) => inputs[i]));
      return outputs;
    } finally {
      seen.end = performance.now();
      seen.launches = backend.stats.launches - launches;
      this.#open.pop();
      const outer = this.#open.at(-1) ?? -1;
      this.#timer?.mark(outer);
      const parent = this.#calls[outer];
      if (parent) parent.isComposed ||= seen.launches > 0;
    }
  }

  /** Measures no further. */
  #halt(): void {
    this.#remove();
    if (this.#stopped) return;
    const kernels = this.#timer?.stop() ?? null;
    // It is heard of where it is awaited.
    kernels?.catch(() => {});
    this.#stopped = { kernels, at: performance.now() };
    this.#timer = null;
  }

  /** Ends the profile without a result. */
  abandon(): void {
    this.#halt();
  }

  /** Ends the profile; null when nothing was computed. Measuring `ceilings` takes a GPU about a second. */
  async stop({ ceilings: wantsCeilings = true } = {}): Promise<Profile | null> {
    const isFull = this.#stopped !== null;
    this.#halt();
    const backend = this.#backend;
    const kernels = (await this.#stopped?.kernels) ?? null;
    // The last kernels end when their times are there.
    const milliseconds = (isFull && !kernels ? (this.#stopped?.at ?? 0) : performance.now()) - this.#began;
    if (!backend) return null;
    const ceilings = wantsCeilings ? ((await backend.ceilings?.().catch(() => null)) ?? null) : null;
    const rows = kernels ? this.#rowsOnDevice(kernels, ceilings) : this.#rowsOnHost(ceilings);
    return {
      backend: backend.name,
      measuredOn: kernels ? 'device' : 'host',
      milliseconds,
      rows,
      ceilings,
      isCut: isFull || (kernels?.length ?? 0) >= MOST_KERNELS,
      trace: this.#trace(backend.name, kernels),
    };
  }

  /** A call's share of its operations goes with each of its kernels, as often as that runs. */
  #rowsOnDevice(kernels: readonly TimedKernel[], ceilings: Ceilings | null): ProfileRow[] {
    const own = new Map<number, number>();
    for (const { owner, replayed } of kernels) if (!replayed) own.set(owner, (own.get(owner) ?? 0) + 1);
    const sums = new Sums();
    for (const { owner, name, start, end } of kernels) {
      const call = this.#calls[owner];
      const part = 1 / (own.get(owner) ?? 1);
      sums.add(call?.op ?? name, end - start, 1, part, call);
    }
    return sums.rows(ceilings);
  }

  #rowsOnHost(ceilings: Ceilings | null): ProfileRow[] {
    const sums = new Sums();
    for (const call of this.#calls) {
      const { launches, start, end } = call;
      if (launches > 0 && !call.isComposed) sums.add(call.op, end - start, launches, 1, call);
    }
    return sums.rows(ceilings);
  }

  #trace(backend: string, kernels: readonly TimedKernel[] | null): string {
    const event = (name: string, tid: number, start: number, end: number, args: object) => ({
      name,
      cat: tid === 1 ? 'call' : 'kernel',
      ph: 'X',
      // Microseconds.
      ts: Math.round(1e6 * start) / 1e3,
      dur: Math.round(1e6 * (end - start)) / 1e3,
      pid: 1,
      tid,
      args,
    });
    const track = (tid: number, name: string) => ({ name: 'thread_name', ph: 'M', pid: 1, tid, args: { name } });
    const events: object[] = [
      { name: 'process_name', ph: 'M', pid: 1, args: { name: `azulejo on ${backend}` } },
      track(1, 'calls (host)'),
      ...(kernels ? [track(2, 'kernels (device)')] : []),
    ];
    for (const { op, start, end, launches, flops, bytes } of this.#calls)
      events.push(event(op, 1, start - this.#began, end - this.#began, { launches, flops, bytes }));
    // The device's clock begins elsewhere: its first kernel ran no sooner than it was called.
    const first = kernels?.[0];
    const shift = first ? (this.#calls[first.owner]?.start ?? this.#began) - this.#began - first.start : 0;
    for (const { name, owner, start, end } of kernels ?? [])
      events.push(event(this.#calls[owner]?.op ?? name, 2, start + shift, end + shift, { kernel: name }));
    return `{"displayTimeUnit":"ms","traceEvents":[\n${events.map((e) => JSON.stringify(e)).join(',\n')}\n]}\n`;
  }
}

/** Bytes of tensors; of one that repeats its elements, those that there are. */
function bytesOfAll(tensors: readonly Operand[]): number {
  return tensors.reduce((n, t) => n + (t ? Math.min(sizeOf(t.shape) * bytesOf(t.dtype), t.storage.block.bytes) : 0), 0);
}

/** Sums by op. */
class Sums {
  readonly #sums = new Map<
    string,
    { calls: number; launches: number; milliseconds: number; flops: number; bytes: number; half: boolean }
  >();

  add(op: string, milliseconds: number, launches: number, part: number, call: Seen | undefined): void {
    let sum = this.#sums.get(op);
    if (!sum) {
      sum = { calls: 0, launches: 0, milliseconds: 0, flops: 0, bytes: 0, half: false };
      this.#sums.set(op, sum);
    }
    sum.calls += part;
    sum.launches += launches;
    sum.milliseconds += milliseconds;
    sum.flops += part * (call?.flops ?? 0);
    sum.bytes += part * (call?.bytes ?? 0);
    sum.half ||= call?.half ?? false;
  }

  rows(ceilings: Ceilings | null): ProfileRow[] {
    const rows = [...this.#sums].map(([op, { half, ...sum }]): ProfileRow => {
      const seconds = sum.milliseconds / 1e3;
      const [flopRate, byteRate] = [sum.flops, sum.bytes].map((n) => (seconds > 0 ? n / seconds : 0));
      const peak = ceilings && ((half && (ceilings.matrix ?? ceilings.float16)) || ceilings.float32);
      return {
        op,
        ...sum,
        calls: Math.round(sum.calls),
        flopRate,
        byteRate,
        flopShare: peak ? flopRate / peak : null,
        byteShare: ceilings ? byteRate / ceilings.bandwidth : null,
      };
    });
    return rows.sort((a, b) => b.milliseconds - a.milliseconds);
  }
}
