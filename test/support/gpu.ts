/** The GPU that tests run on: the software one, so that results do not depend on the machine; AZULEJO_TEST_ADAPTER names another. */
import { loadBackend } from '../../backends/index.js';
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';

export const ADAPTER = process.env.AZULEJO_TEST_ADAPTER ?? 'swiftshader';

/** The webgpu backend, or why there is none here (a reason to skip). */
export async function gpuOrReason(): Promise<Backend | string> {
  try {
    return await loadBackend('webgpu', { adapter: ADAPTER });
  } catch (error) {
    if (error instanceof InputError) return `no WebGPU here: ${error.message}`;
    throw error;
  }
}
