/** Packages that are imported when they happen to be installed. */
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

/** A package from the folder `peers` (with a node_modules of its own) or our node_modules; null when it is in neither. */
export async function optional<T>(name: string, peers: string | undefined): Promise<T | null> {
  const places = [...(peers === undefined ? [] : [join(resolve(peers), 'package.json')]), import.meta.url];
  for (const place of places) {
    let path: string;
    try {
      path = createRequire(place).resolve(name);
    } catch {
      continue;
    }
    const module = await import(pathToFileURL(path).href);
    // Of CommonJS the exports are the default.
    return (module.default ?? module) as T;
  }
  return null;
}

/** Lets packages that look for `navigator.gpu` find Dawn. */
export async function offerGpu(adapter: string | undefined): Promise<void> {
  const { findAdapter } = await import('../../backends/webgpu/device.js');
  const { gpu } = await findAdapter(adapter);
  const owner = globalThis.navigator ?? { userAgent: 'Node.js', platform: 'linux' };
  Object.defineProperty(owner, 'gpu', { value: gpu, configurable: true });
  if (!globalThis.navigator) Object.defineProperty(globalThis, 'navigator', { value: owner, configurable: true });
}
