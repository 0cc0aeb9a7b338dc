/** The only file that asks where we run. */

/** True in Node, false in a page or its worker. */
export function inNode(): boolean {
  return typeof process === 'object' && process.versions?.node !== undefined;
}

/** Whether threads can share memory: always in Node, in a page only when it is cross-origin isolated. */
export function canShareMemory(): boolean {
  return typeof SharedArrayBuffer !== 'undefined' && globalThis.crossOriginIsolated !== false;
}

/** Processors that this program may use. */
export async function processorCount(): Promise<number> {
  if (inNode()) return (await import('node:os')).availableParallelism();
  return globalThis.navigator?.hardwareConcurrency ?? 1;
}
