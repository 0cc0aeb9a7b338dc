/** What both benchmarks of whole models can be told. */
import { backendNames } from '../backends/index.js';
import type { Backend } from '../core/backend.js';
import { InputError } from '../core/errors.js';
import type { Given } from './flags.js';

export const MODEL_FLAGS = {
  device: ['NAME', `where to compute: ${backendNames().join(', ')}; default: wasm`],
  adapter: ['NAME', 'GPU of the webgpu backend, by a part of its name'],
  threads: ['N', 'threads of the wasm backend and of PyTorch on the CPU; default: 2'],
  size: ['PIXELS', 'side of the images; default: 224'],
  layers: ['N', 'layers of the encoder; default: 12, as BEiT-3-base has'],
  repeats: ['N', 'measured runs, after 3 that warm up; default: 5'],
  dtype: ['NAME', 'float32, or float16 where the device computes in it; default: float32'],
  replay: [null, 'capture the pass and replay it: for devices that record'],
  'peer-device': ['NAME', 'where PyTorch computes: cpu or cuda; default: cuda beside webgpu, else cpu'],
  json: ['FILE', 'write the figures to this file, too'],
} as const;

export interface ModelOptions {
  readonly device: string;
  readonly adapter: string | undefined;
  readonly threads: number;
  readonly size: number;
  readonly batch: number;
  readonly layers: number;
  readonly repeats: number;
  readonly dtype: 'float32' | 'float16';
  readonly replay: boolean;
  readonly peerDevice: 'cpu' | 'cuda';
  readonly json: string | undefined;
}

/** The flags' values; `batches` are the default batches on a CPU and on a GPU. */
export function modelOptions(
  flags: Given<typeof MODEL_FLAGS & { readonly batch: readonly [string, string] }>,
  batches: readonly [cpu: number, gpu: number],
): ModelOptions {
  const device = flags.text('device') ?? 'wasm';
  if (!backendNames().includes(device))
    throw new InputError(`There is no device ${device}; expected one of ${backendNames().join(', ')}.`);
  const onGpu = device === 'webgpu';
  const size = flags.whole('size', 16, 4096) ?? 224;
  if (size % 16 !== 0) throw new InputError(`--size must be a multiple of 16, the side of a patch, got ${size}.`);
  return {
    device,
    adapter: flags.text('adapter'),
    threads: flags.whole('threads', 1, 256) ?? 2,
    size,
    batch: flags.whole('batch', 1, 4096) ?? batches[onGpu ? 1 : 0],
    layers: flags.whole('layers', 1, 96) ?? 12,
    repeats: flags.whole('repeats', 1, 1000) ?? 5,
    dtype: flags.choice('dtype', ['float32', 'float16']) ?? 'float32',
    replay: flags.has('replay'),
    peerDevice: flags.choice('peer-device', ['cpu', 'cuda']) ?? (onGpu ? 'cuda' : 'cpu'),
    json: flags.text('json'),
  };
}

/** Lets a backend that chooses between kernels by measuring see what `run` computes, and choose. */
export async function tuneBy(backend: Backend, run: () => void): Promise<void> {
  if (!backend.tune) return;
  run();
  const cases = await backend.tune();
  if (cases > 0) console.log(`tuned ${cases} classes of products`);
}
