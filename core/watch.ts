/** What a captured step learns of the code that it runs: who makes memory, numbers and kernels reports here. */
import type { Attrs, Kernel, Spec, View } from './backend.js';

/** A stream of random numbers that can be asked where it stands, and put there. */
export interface Stream {
  state(): { readonly seed: number; readonly counter: number };
  restore(state: { readonly seed: number; readonly counter: number }): unknown;
}

/** A kernel with what it is run on. */
export interface KernelRun {
  readonly kernel: Kernel;
  readonly inputs: readonly (View | null)[];
  readonly attrs: Attrs;
  readonly specs: readonly Spec[];
  readonly outputs: readonly View[];
}

/** Watches one run of a step. */
export interface Watcher {
  /** Calls `start`, which starts a kernel. */
  kernel(run: KernelRun, start: () => void): void;
  /** Memory was made for a tensor. */
  made(storage: object): void;
  /** Host values are about to become a tensor. */
  values(bytes: Uint8Array): void;
  /** Random words were set aside; `key` and `counter` are what a kernel will be given. */
  reserved(stream: Stream, key: object, counter: object, counterBefore: number): void;
  /** Throws unless random numbers may be drawn on the host now. */
  drawing(): void;
  /** The error for reading while the step runs. */
  reading(what: string): Error;
  onReplay(update: () => void): void;
  varying(attrs: Attrs, current: () => Attrs, constants: Attrs): void;
  fresh<T>(make: () => T): T;
}

let watcher: Watcher | null = null;

/** Who watches, if anyone. */
export const watching = (): Watcher | null => watcher;

/** Runs `fn` watched. */
export function watched<T>(by: Watcher, fn: () => T): T {
  watcher = by;
  try {
    return fn();
  } finally {
    watcher = null;
  }
}

/**
 * For state that a step advances in JavaScript (a count of steps): inside `capture`, `update` is called before each
 * replay; elsewhere nothing happens, so call it once yourself.
 */
export function onReplay(update: () => void): void {
  watcher?.onReplay(update);
}

/**
 * For numbers that differ from step to step (a learning rate): says that a replay is to start the kernel of the call with
 * these attributes with `current()` instead. `constants` are what must not change. Returns the attributes.
 */
export function varying<A extends Attrs>(attrs: A, current: () => A, constants: Attrs): A {
  watcher?.varying(attrs, current, constants);
  return attrs;
}

/** Runs `make`, which turns host values into a tensor; replays run it again for new values. */
export function fresh<T>(make: () => T): T {
  return watcher ? watcher.fresh(make) : make();
}
