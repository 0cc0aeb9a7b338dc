/** Program of a pool worker, the same in Node (worker_threads) and in a page (module Worker). */
import { inNode } from '../../../core/runtime.js';
import {
  CODE_LENGTH,
  CODE_POINTER,
  CONTROL_WORDS,
  type Entry,
  FAILED,
  GENERATION,
  KERNEL,
  OPEN,
  READY,
  SCRATCH,
  SCRATCH_STRIDE,
  SLEEPING,
  STATE,
  STOP,
  work,
} from './control.js';

/** What the pool hands to a worker. */
export interface Start {
  readonly memory: WebAssembly.Memory;
  /** 1.. ; thread 0 is the one that owns the pool. */
  readonly thread: number;
}

/** Polls before sleeping, some 50 microseconds: a wake from sleep costs as much. */
const SPINS = 20_000;

function serve({ memory, thread }: Start): void {
  const control = new Int32Array(memory.buffer, 0, CONTROL_WORDS);
  const entries = new Map<number, Entry>();
  let seen = Atomics.load(control, GENERATION);
  Atomics.add(control, READY, 1);
  for (;;) {
    waitForJob(control, seen);
    seen = Atomics.load(control, GENERATION);
    if (Atomics.load(control, STOP) !== 0) return;
    if (!join(control)) continue;
    try {
      const id = control[KERNEL];
      let entry = entries.get(id);
      if (!entry) {
        entry = instantiate(memory, control[CODE_POINTER] >>> 0, control[CODE_LENGTH]);
        entries.set(id, entry);
      }
      work(control, entry, (control[SCRATCH] + thread * control[SCRATCH_STRIDE]) | 0);
    } catch {
      Atomics.store(control, FAILED, 1);
    }
    Atomics.sub(control, STATE, 1);
  }
}

function waitForJob(control: Int32Array, seen: number): void {
  for (let i = 0; i < SPINS; i++) if (Atomics.load(control, GENERATION) !== seen) return;
  Atomics.add(control, SLEEPING, 1);
  while (Atomics.load(control, GENERATION) === seen) Atomics.wait(control, GENERATION, seen);
  Atomics.sub(control, SLEEPING, 1);
}

/** Joins the current job unless it is closed already; while a worker is in it, its description stands. */
function join(control: Int32Array): boolean {
  let state = Atomics.load(control, STATE);
  while ((state & OPEN) !== 0) {
    const before = Atomics.compareExchange(control, STATE, state, state + 1);
    if (before === state) return true;
    state = before;
  }
  return false;
}

function instantiate(memory: WebAssembly.Memory, pointer: number, length: number): Entry {
  // This thread may learn of the owner's growth a moment late.
  for (let tries = 0; memory.buffer.byteLength < pointer + length && tries < 1e8; tries++);
  const code = new Uint8Array(memory.buffer, pointer, length).slice();
  const instance = new WebAssembly.Instance(new WebAssembly.Module(code), { env: { memory } });
  return instance.exports.run as Entry;
}

if (inNode()) {
  const { workerData } = await import('node:worker_threads');
  serve(workerData as Start);
} else {
  self.onmessage = (event: MessageEvent<Start>) => {
    self.postMessage('ready');
    serve(event.data);
    self.close();
  };
}
