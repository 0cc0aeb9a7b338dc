/** Owners of memory: reference-counted storage, and scopes that free what was made inside them. */
import type { Backend, Block, Residence } from './backend.js';
import { watching } from './watch.js';

/** A block of a backend's memory, shared by all views of it and freed with the last one. */
export class Storage {
  #references = 0;
  #version = 0;
  constructor(
    readonly backend: Backend,
    readonly block: Block,
  ) {
    watching()?.made(this);
  }

  /** How often an op has written in place: who saved a tensor for later learns whether it still holds the same. */
  get version(): number {
    return this.#version;
  }

  /** Says that the content is about to change. */
  change(): void {
    this.#version++;
  }

  /** Whether more than one handle holds it. */
  get shared(): boolean {
    return this.#references > 1;
  }

  /** Whether its memory went back: no handle holds it any more. */
  get freed(): boolean {
    return this.#references === 0;
  }

  retain(): void {
    this.#references++;
  }

  release(): void {
    if (--this.#references === 0) this.backend.free(this.block);
  }
}

/** Anything that a scope can free. */
export interface Disposable {
  dispose(): void;
  /** What it owns and frees with itself. */
  grad?: Disposable | null;
}

let residenceNow: Residence | null = null;

/** As what new tensors are made to stay, if they are. */
export const residence = (): Residence | null => residenceNow;

/** Runs `fn`, in which tensors are made that stay and are updated together: parameters, or moments of an optimiser. */
export function resident<T>(fn: () => T, as: Residence = 'parameter'): T {
  const before = residenceNow;
  residenceNow = as;
  try {
    return fn();
  } finally {
    residenceNow = before;
  }
}

const scopes: Set<Disposable>[] = [];

/** Gives a new object to the innermost scope. */
export function track(object: Disposable): void {
  if (scopes.length > 0) scopes[scopes.length - 1].add(object);
}

/** Takes an object out of every scope: from now on whoever asked owns it. */
export function keep<T extends Disposable>(object: T): T {
  for (const s of scopes) s.delete(object);
  return object;
}

/**
 * Runs `fn` and frees every tensor made inside, except those reachable from its result (a tensor, or arrays and plain
 * objects of tensors; also the gradient of a leaf that goes), which go to the surrounding scope. `fn` must be
 * synchronous: a Promise throws.
 */
export function scope<T>(fn: () => T): T {
  const inside = new Set<Disposable>();
  const elsewhere: unknown[] = [];
  scopes.push(inside);
  let result: T;
  try {
    result = fn();
    if (result instanceof Promise) throw new TypeError('scope(fn) expected a synchronous function, got a Promise');
    release(result, inside, scopes.length - 2, elsewhere);
  } finally {
    scopes.pop();
    if (elsewhere.length > 0) {
      for (const object of inside) {
        if (!object.grad || !elsewhere.includes(object.grad)) continue;
        track(object.grad);
        object.grad = null;
      }
    }
    for (const object of inside) object.dispose();
  }
  return result;
}

/** Moves what `value` reaches from one scope to the scope at `parent`, if there is one; lists what is not in it. */
function release(value: unknown, from: Set<Disposable>, parent: number, elsewhere: unknown[]): void {
  if (typeof value !== 'object' || value === null) return;
  if ('dispose' in value) {
    if (!from.delete(value as Disposable)) elsewhere.push(value);
    else if (parent >= 0) scopes[parent].add(value as Disposable);
    return;
  }
  if (ArrayBuffer.isView(value)) return;
  if (Array.isArray(value)) for (const v of value) release(v, from, parent, elsewhere);
  else if (value instanceof Map) for (const v of value.values()) release(v, from, parent, elsewhere);
  else if (Object.getPrototypeOf(value) === Object.prototype) {
    for (const v of Object.values(value)) release(v, from, parent, elsewhere);
  }
}
