/** Other frameworks on the same problems. They are never dependencies: what is installed is found when asked for. */
import type { DType } from '../../core/dtype.js';
import { messageOf } from '../../core/errors.js';
import type { Case, Sizes } from '../kernels/cases.js';
import type { TimingOptions } from '../kernels/timing.js';

export interface Peer {
  readonly name: string;
  /** Beside which of our backends it is shown. */
  readonly beside: string;
  /** Seconds of a call, the fastest sample; null when it has nothing like it. */
  time(of: Case, sizes: Sizes, dtype: DType, options: TimingOptions): Promise<number | null>;
  close(): void;
}

export interface PeerOptions {
  /** The folder in which packages are installed. */
  readonly peers?: string;
  readonly adapter?: string;
  readonly threads?: number;
  /** Where PyTorch computes: beside wasm on the CPU, beside webgpu with CUDA; or as given. */
  readonly torchDevice?: 'cpu' | 'cuda';
}

/** Opens a peer, or says why it is not here. */
export type Opener = (options: PeerOptions) => Promise<Peer | string>;

const OPENERS: Readonly<Record<string, readonly [beside: string, open: Opener]>> = {
  'tfjs wasm': ['wasm', async (o) => (await import('./tfjs.js')).openTfjs('wasm', o)],
  'tfjs webgpu': ['webgpu', async (o) => (await import('./tfjs.js')).openTfjs('webgpu', o)],
  'jax-js wasm': ['wasm', async (o) => (await import('./jax.js')).openJax('wasm', o)],
  'jax-js webgpu': ['webgpu', async (o) => (await import('./jax.js')).openJax('webgpu', o)],
  'onnxruntime-web': ['wasm', async (o) => (await import('./onnx.js')).openOnnx(o)],
  'pytorch cpu': ['wasm', async (o) => (await import('./torch.js')).openTorch('wasm', 'cpu', o)],
  'pytorch cuda': ['webgpu', async (o) => (await import('./torch.js')).openTorch('webgpu', 'cuda', o)],
};

/** The peers that are here and belong beside one of `devices`; `missing` is told of the others. */
export async function openPeers(
  devices: readonly string[],
  options: PeerOptions,
  missing: (line: string) => void,
): Promise<Peer[]> {
  const found: Peer[] = [];
  for (const [name, [beside, open]] of Object.entries(OPENERS)) {
    if (!devices.includes(beside)) continue;
    let peer: Peer | string;
    try {
      peer = await open(options);
    } catch (error) {
      peer = `does not start here: ${messageOf(error).split('\n')[0]}`;
    }
    if (typeof peer === 'string') missing(`${name}: ${peer}`);
    else found.push(peer);
  }
  return found;
}
