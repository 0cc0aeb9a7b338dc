/** Which backends this page can compute on, and in one sentence why it cannot on the others. Runs in a worker. */
import { autoBackend, backendNames } from '../../backends/index.js';
import { canShareMemory, processorCount } from '../../core/runtime.js';
import type { Device } from './protocol.js';

type Verdict = Omit<Device, 'name'>;

const yes = (note: string): Verdict => ({ works: true, note });
const no = (note: string): Verdict => ({ works: false, note });

/** In the order in which they are tried after the best one. */
const PROBES: Readonly<Record<string, (isBest: boolean) => Promise<Verdict>>> = {
  wasm: probeWasm,
  webgpu: probeWebGpu,
  gpujs: probeWebGl,
  reference: async () => yes('Every operation as its plain definition: exact and very slow.'),
};

/** The backends of the library, the preferred first. */
export async function findDevices(): Promise<Device[]> {
  const best = await autoBackend();
  const names = backendNames();
  const ordered = new Set([best, ...Object.keys(PROBES), ...names]);
  return await Promise.all(
    [...ordered]
      .filter((name) => names.includes(name))
      .map(async (name) => ({ name, ...(await (PROBES[name]?.(name === best) ?? yes('A backend of your own.'))) })),
  );
}

interface Gpu {
  requestAdapter(options: { powerPreference: 'high-performance' }): Promise<{ readonly info?: GpuInfo } | null>;
}
interface GpuInfo {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
}

async function probeWebGpu(isBest: boolean): Promise<Verdict> {
  const { gpu } = navigator as { gpu?: Gpu };
  if (!gpu) {
    return globalThis.isSecureContext
      ? no('This browser has no WebGPU.')
      : no('Browsers allow WebGPU only on pages that come by https or from this machine.');
  }
  try {
    const adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
    if (adapter === null) return no('This browser has WebGPU, but no graphics adapter for it.');
    const { vendor = '', architecture = '', description = '' } = adapter.info ?? {};
    const name = description || [vendor, architecture].filter((word) => word !== '').join(' ');
    const what = isBest ? 'The graphics processor' : 'A graphics processor in software';
    return yes(name === '' ? `${what}.` : `${what} (${name}).`);
  } catch {
    return no('This browser has WebGPU, but asking it for a graphics adapter failed.');
  }
}

/** The smallest module with a vector constant: an engine without SIMD refuses it. */
const SIMD = Uint8Array.from([
  ...[0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 22, 1, 20, 0, 253, 12],
  ...new Array<number>(16).fill(0),
  11,
]);

async function probeWasm(): Promise<Verdict> {
  if (typeof WebAssembly === 'undefined') return no('This browser has no WebAssembly.');
  if (!WebAssembly.validate(SIMD)) return no('The WebAssembly of this browser has no SIMD.');
  if (!canShareMemory()) {
    return yes(
      'The processor, with one thread: the server of this page does not send the headers (COOP and COEP) that allow shared memory.',
    );
  }
  const threads = await processorCount();
  return yes(`The processor, with ${threads} ${threads === 1 ? 'thread' : 'threads'}.`);
}

async function probeWebGl(): Promise<Verdict> {
  try {
    const context = new OffscreenCanvas(1, 1).getContext('webgl2');
    if (context === null) return no('This browser has no WebGL2.');
    const floats = context.getExtension('EXT_color_buffer_float') !== null;
    context.getExtension('WEBGL_lose_context')?.loseContext();
    return floats
      ? yes('The graphics processor, through WebGL2.')
      : no('The WebGL2 of this browser cannot write floating-point numbers.');
  } catch {
    return no('This browser has no WebGL2 outside of documents.');
  }
}
