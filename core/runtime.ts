/** The only file that asks where we run. */

/** True in Node, false in a page or its worker. */
export function inNode(): boolean {
  return typeof process === 'object' && process.versions?.node !== undefined;
}

/** Waits until a page could redraw, or signals (Ctrl-C) arrive in Node: computing on a CPU backend waits for nothing. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    // Node looks for signals between timers and immediates.
    setTimeout(() => (inNode() ? setImmediate(resolve) : resolve()), 0);
  });
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

/** Tells the user of something that works, but worse than it should. */
export function warn(text: string): void {
  if (inNode()) process.emitWarning(text, 'AzulejoWarning');
  else console.warn(text);
}

/** A page's own entry to WebGPU; null where it has none. */
export const pageGpu = (): unknown => (globalThis.navigator as { gpu?: unknown } | undefined)?.gpu ?? null;

/** False in a page that was loaded in a way in which browsers keep things from it. */
export const isSecurePage = (): boolean => globalThis.isSecureContext !== false;

/** The folder that a page keeps files in; rejects where the browser gives it none. */
export const pageFolder = (): Promise<FileSystemDirectoryHandle> => globalThis.navigator.storage.getDirectory();
