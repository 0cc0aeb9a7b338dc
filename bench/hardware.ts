/** What the figures were measured on. */
import { availableParallelism, cpus, release, type } from 'node:os';
import { factsOf, findAdapter } from '../backends/webgpu/device.js';

/** The processor's name and how many threads it offers. */
export const processor = (): string =>
  `${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${availableParallelism()} cores`;

/** The machine: operating system and processor. */
export const machine = (): string => `${type()} ${release()}, ${processor()}`;

/** What a backend computes on: the adapter of a GPU with its driver, or the processor. */
export async function hardwareOf(backend: string, adapter: string | undefined): Promise<string> {
  if (backend !== 'webgpu') return processor();
  const found = await findAdapter(adapter);
  const { description } = factsOf(found.gpu, found.adapter);
  const { device } = found.adapter.info;
  return device && device !== description ? `${device} (${description})` : description;
}
