/** PyTorch eager, in a Python beside us. */
import { fileURLToPath } from 'node:url';
import { steppingPeer } from '../peer.js';
import type { Peer, PeerOptions } from './index.js';

export async function openTorch(
  beside: string,
  usual: 'cpu' | 'cuda',
  { threads, torchDevice }: PeerOptions,
): Promise<Peer | string> {
  const device = torchDevice ?? usual;
  const script = fileURLToPath(new URL('../../../bench/peers/kernels_torch.py', import.meta.url));
  const flags = ['--device', device, ...(threads === undefined ? [] : ['--threads', String(threads)])];
  const peer = steppingPeer(script, flags);
  if (peer === null) return 'not installed in python3 (AZULEJO_PYTHON names another interpreter)';
  // The first line comes by itself.
  const hello = await peer.next();
  if (hello.error !== undefined) {
    peer.end();
    return String(hello.error);
  }
  return {
    name: `pytorch ${hello.torch} ${device}`,
    beside,
    async time(of, sizes, dtype, { seconds, sample }) {
      if (of.peer === null) return null;
      const answer = await peer.step({ kind: of.peer, sizes, dtype, seconds, sample });
      if (answer.error !== undefined) throw new Error(String(answer.error));
      return answer.seconds as number | null;
    },
    close: () => peer.end(),
  };
}
