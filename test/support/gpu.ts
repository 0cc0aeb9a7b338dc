/** The backends that tests hold against the oracle, and the GPU that they run on. */
import { type BackendOptions, loadBackend } from '../../backends/index.js';
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';

/** The software GPU, so that results do not depend on the machine; AZULEJO_TEST_ADAPTER names another. */
export const ADAPTER = process.env.AZULEJO_TEST_ADAPTER ?? 'swiftshader';

/** The backends that are held against the oracle, and how they are made here. */
export const TESTED: Readonly<Record<string, BackendOptions>> = {
  wasm: { threads: 2 },
  webgpu: { adapter: ADAPTER },
  gpujs: {},
};

/** A backend that is held against the oracle, or why it can't be had here (a reason to skip). */
export async function tested(name: string): Promise<Backend | string> {
  try {
    return await loadBackend(name, TESTED[name]);
  } catch (error) {
    if (error instanceof InputError) return error.message;
    throw error;
  }
}

/** The webgpu backend, or why there is none here. */
export const gpuOrReason = (): Promise<Backend | string> => tested('webgpu');
