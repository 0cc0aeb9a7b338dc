/** The registry: backends by name, loaded on demand, so that a page ships only the one it uses. */
import type { Backend } from '../core/backend.js';
import { setDefaultBackend } from '../core/device.js';
import { InputError } from '../core/errors.js';

export interface BackendOptions {
  /** CPU threads of the wasm backend, 1 to 256; default: all cores. */
  readonly threads?: number;
  /** GPU of the webgpu backend, by a part of its name; `swiftshader` is the software one. Default: the fastest. */
  readonly adapter?: string;
}

export type BackendFactory = (options: BackendOptions) => Promise<Backend>;

const factories = new Map<string, BackendFactory>([
  ['wasm', async (options) => (await import('./wasm/index.js')).createBackend(options)],
  ['webgpu', async (options) => (await import('./webgpu/index.js')).createBackend(options)],
  ['gpujs', async () => (await import('./gpujs/index.js')).createBackend()],
  ['reference', async () => (await import('./reference/index.js')).createBackend()],
]);

/** Adds a backend under a name of its own. */
export function registerBackend(name: string, factory: BackendFactory): void {
  factories.set(name, factory);
}

/** Names of the registered backends. */
export function backendNames(): string[] {
  return [...factories.keys()];
}

const loaded = new Map<string, Promise<Backend>>();

const MOST_THREADS = 256;

/** What 'auto' stands for here: webgpu where a GPU in hardware answers, else wasm. */
export async function autoBackend(): Promise<string> {
  const { hasHardware } = await import('./webgpu/device.js');
  return (await hasHardware()) ? 'webgpu' : 'wasm';
}

/**
 * The backend of a name ('auto' is the fastest one here), made at first use with `options` and kept. Throws InputError
 * for a name that is not registered and a number of threads that makes no sense.
 */
export async function loadBackend(name: string, options: BackendOptions = {}): Promise<Backend> {
  const { threads = 1 } = options;
  if (!(Number.isInteger(threads) && threads >= 1 && threads <= MOST_THREADS))
    throw new InputError(`The number of threads must be a whole number from 1 to ${MOST_THREADS}, got ${threads}.`);
  const wanted = name === 'auto' ? await autoBackend() : name;
  const factory = factories.get(wanted);
  if (!factory) {
    throw new InputError(`There is no backend named ${name}; expected auto or one of ${backendNames().join(', ')}.`);
  }
  let backend = loaded.get(wanted);
  if (!backend) {
    backend = factory(options);
    loaded.set(wanted, backend);
    backend.catch(() => loaded.delete(wanted));
  }
  return backend;
}

/** Loads a backend and makes it the one on which new tensors are made. */
export async function useBackend(name = 'auto', options: BackendOptions = {}): Promise<Backend> {
  const backend = await loadBackend(name, options);
  setDefaultBackend(backend);
  return backend;
}

/** Ends a loaded backend: its workers stop and its memory goes back. Tensors on it must not be used any more. */
export async function disposeBackend(name: string): Promise<void> {
  const backend = loaded.get(name);
  loaded.delete(name);
  if (!backend) return;
  const b = await backend;
  const current = setDefaultBackend(null);
  if (current !== b) setDefaultBackend(current);
  await b.dispose();
}
