import type { Backend } from './backend.js';
import { InputError } from './errors.js';

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
