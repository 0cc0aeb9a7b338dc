import type { Backend } from './backend.js';
import { InputError } from './errors.js';
import { scope } from './memory.js';
import { noGrad } from './modes.js';

let current: Backend | null = null;

/** The backend on which new tensors are made. */
export function defaultBackend(): Backend {
  if (current === null) {
    throw new InputError("No backend is in use yet; call `await useBackend('wasm')` (or 'reference') first.");
  }
  return current;
}

/** Sets the backend on which new tensors are made; returns the one before. */
export function setDefaultBackend(backend: Backend | null): Backend | null {
  const before = current;
  current = backend;
  return before;
}

/**
 * Compiles ahead, in parallel, the kernels that a computation needs, where the backend compiles kernels (webgpu); `fn`
 * makes tensors of the shapes to come, computes and reads nothing. What it computes is garbage and is freed.
 */
export async function warm(fn: () => void, backend: Backend = defaultBackend()): Promise<void> {
  await backend.warm?.(() => {
    noGrad(() =>
      scope(() => {
        fn();
      }),
    );
  });
}
