/** A persistent pool of workers that claim chunks of a job in shared memory; the owner takes part in every job. */
import { messageOf } from '../../../core/errors.js';
import { inNode, warn } from '../../../core/runtime.js';
import type { Heap } from '../memory/heap.js';
import {
  CHUNKS,
  CODE_LENGTH,
  CODE_POINTER,
  CONTROL_WORDS,
  type Entry,
  FAILED,
  GENERATION,
  KERNEL,
  NEXT_CHUNK,
  OPEN,
  READY,
  SCRATCH,
  SCRATCH_STRIDE,
  SLEEPING,
  STATE,
  STOP,
  work,
} from './control.js';
import type { Start } from './worker.js';

/** A job that workers can run: where its module's bytes lie. */
export interface SharedCode {
  readonly id: number;
  readonly pointer: number;
  readonly length: number;
  readonly entry: Entry;
}

interface Handle {
  end(): Promise<void>;
}

/** Polls while the last chunks finish before giving up the processor for a moment. */
const SPINS = 50_000;
/** Such a moment in milliseconds. */
const MOMENT = 0.05;
/** Seconds of waiting after which a worker must have died: chunks take milliseconds. */
const PATIENCE = 60;

export class Pool {
  private readonly fixed: Int32Array;
  private readonly canSleep: boolean;
  private workers: Handle[] = [];
  private warned = false;

  private constructor(
    private readonly heap: Heap,
    readonly threads: number,
    private readonly patience: number,
  ) {
    this.fixed = new Int32Array(heap.memory.buffer, 0, CONTROL_WORDS);
    this.canSleep = mayWait(heap.shared);
  }

  /**
   * A pool of `threads` threads, this one included. Workers that fail to start are missing, with a warning: the others
   * do their work. A job throws when it has waited `patience` seconds for a worker.
   */
  static async start(heap: Heap, threads: number, patience = PATIENCE): Promise<Pool> {
    const pool = new Pool(heap, heap.shared ? threads : 1, patience);
    const starts: Promise<Handle | null>[] = [];
    const onError = (error: unknown): null => {
      if (!pool.warned) {
        warn(`A thread of the wasm backend has failed, computing will be slower: ${messageOf(error)}`);
        pool.warned = true;
      }
      return null;
    };
    for (let thread = 1; thread < pool.threads; thread++) {
      starts.push(startWorker({ memory: heap.memory, thread }, onError).catch(onError));
    }
    pool.workers = (await Promise.all(starts)).filter((w) => w !== null);
    return pool;
  }

  /** The control block; memory that is not shared moves when it grows. */
  private get control(): Int32Array {
    return this.heap.shared ? this.fixed : this.heap.i32;
  }

  /** Runs all chunks of a job; they are done on return. */
  run(code: SharedCode, chunks: number, scratch: number, scratchStride: number): void {
    const control = this.control;
    if (chunks <= 0) return;
    control[CHUNKS] = chunks;
    if (chunks === 1 || this.workers.length === 0 || Atomics.load(control, READY) === 0) {
      Atomics.store(control, NEXT_CHUNK, 0);
      work(control, code.entry, scratch);
      return;
    }
    control[KERNEL] = code.id;
    control[CODE_POINTER] = code.pointer;
    control[CODE_LENGTH] = code.length;
    control[SCRATCH] = scratch;
    control[SCRATCH_STRIDE] = scratchStride;
    Atomics.store(control, NEXT_CHUNK, 0);
    Atomics.store(control, STATE, OPEN);
    Atomics.add(control, GENERATION, 1);
    if (Atomics.load(control, SLEEPING) > 0) Atomics.notify(control, GENERATION, chunks - 1);
    let failed = false;
    try {
      work(control, code.entry, scratch);
    } finally {
      Atomics.store(control, NEXT_CHUNK, chunks);
      Atomics.and(control, STATE, ~OPEN);
      this.waitForWorkers();
      // Also when this thread has trapped: the next job must not hear of it.
      failed = Atomics.exchange(control, FAILED, 0) !== 0;
    }
    if (failed) throw new Error('a wasm kernel failed in a worker');
  }

  private waitForWorkers(): void {
    const control = this.control;
    // Moments are counted instead of looking at a clock, which goes on while the machine sleeps.
    const most = SPINS + (1000 * this.patience) / MOMENT;
    for (let spins = 0; ; spins++) {
      const state = Atomics.load(control, STATE);
      if (state === 0) return;
      if (spins <= SPINS || !this.canSleep) continue;
      // Nobody notifies: the wait only lends the processor to a worker that shares it.
      Atomics.wait(control, STATE, state, MOMENT);
      if (spins < most) continue;
      void this.dispose();
      Atomics.store(control, STATE, 0);
      throw new Error('a thread of the wasm backend has ended within a job; what was computed is not complete');
    }
  }

  async dispose(): Promise<void> {
    const { workers } = this;
    if (workers.length === 0) return;
    // From now on jobs are done here alone: one that a dying worker had joined would never end.
    this.workers = [];
    Atomics.store(this.control, STOP, 1);
    Atomics.add(this.control, GENERATION, 1);
    Atomics.notify(this.control, GENERATION);
    await Promise.all(workers.map((w) => w.end()));
  }
}

/** Pages forbid waiting on their main thread. */
function mayWait(shared: boolean): boolean {
  if (!shared) return false;
  try {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 1);
    return true;
  } catch {
    return false;
  }
}

async function startWorker(start: Start, onError: (error: unknown) => void): Promise<Handle> {
  const url = new URL('./worker.js', import.meta.url);
  if (inNode()) {
    const { Worker: NodeWorker } = await import('node:worker_threads');
    const worker = new NodeWorker(url, { workerData: start, execArgv: [] });
    // A worker that cannot start is missing, not fatal: the owner does all chunks.
    worker.on('error', onError);
    worker.unref();
    return {
      end: async () => {
        await worker.terminate();
      },
    };
  }
  const worker = new Worker(url, { type: 'module' });
  // A page loads the worker's file only while its own thread is idle.
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('the worker did not start')), 5000);
    worker.onmessage = () => {
      clearTimeout(timer);
      resolve();
    };
    worker.onerror = () => {
      clearTimeout(timer);
      reject(new Error('the worker did not start'));
    };
    worker.postMessage(start);
  });
  return { end: async () => worker.terminate() };
}
