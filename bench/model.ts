/**
 * `npm run bench:model`: BEiT-3-base forward on one image, beside PyTorch eager in the same run.
 * Flags: --threads N (2), --size PIXELS (224), --batch N (1), --repeats N (5).
 */
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { disposeBackend, useBackend } from '../backends/index.js';
import { modelSpec } from '../beit3/config.js';
import { createModel } from '../beit3/heads/index.js';
import { scope } from '../core/memory.js';
import { noGrad } from '../core/modes.js';
import { randn } from '../core/ops/index.js';
import { Builder } from '../nn/builder.js';
import { pythonPeer } from './peer.js';

const { values } = parseArgs({
  options: {
    threads: { type: 'string', default: '2' },
    size: { type: 'string', default: '224' },
    batch: { type: 'string', default: '1' },
    repeats: { type: 'string', default: '5' },
  },
});
const threads = Number(values.threads);
const size = Number(values.size);
const batch = Number(values.batch);
const repeats = Number(values.repeats);

const backend = await useBackend('wasm', { threads });
const official = modelSpec('beit3_base_patch16_224_imageclassification');
const spec = { ...official, task: 'imageclassification' as const, config: { ...official.config, img_size: size } };
const model = createModel(new Builder(), spec, { initialisation: 'magneto' }).eval();
const image = randn([batch, 3, size, size]);
const times: number[] = [];
// The first passes let the engine optimise the kernels.
for (let i = 0; i < repeats + 3; i++) {
  const start = performance.now();
  const logits = scope(() => noGrad(() => model.forward(image)));
  await logits.data();
  if (i >= 3) times.push((performance.now() - start) / 1000);
  logits.dispose();
}
times.sort((a, b) => a - b);
const tokens = (size / 16) ** 2 + 1;
// Two operations per weight and token, and two products of length 64 per head and pair of tokens.
const gflop = (batch * (2 * 85e6 * tokens + 12 * 4 * tokens * tokens * 768)) / 1e9;
const best = times[0];
console.log(`BEiT-3-base, ${batch} x ${size} px, ${threads} threads, ${backend.name}`);
console.log(
  `azulejo   ${(best * 1000).toFixed(0)} ms (median ${(times[times.length >> 1] * 1000).toFixed(0)} ms), ${(gflop / best).toFixed(1)} GFLOP/s`,
);
model.dispose();
image.dispose();
await disposeBackend('wasm');

const script = fileURLToPath(new URL('../../bench/peers/beit3_torch.py', import.meta.url));
const peer = pythonPeer(script, [
  '--threads',
  String(threads),
  '--size',
  String(size),
  '--batch',
  String(batch),
  '--repeats',
  String(repeats),
]);
if (peer === null) console.log('pytorch   not installed here (AZULEJO_PYTHON names another interpreter)');
else {
  const seconds = Number(peer.seconds);
  console.log(
    `pytorch   ${(seconds * 1000).toFixed(0)} ms (median ${(Number(peer.median) * 1000).toFixed(0)} ms), torch ${peer.torch}`,
  );
  console.log(`ratio     ${(best / seconds).toFixed(2)} x the time of PyTorch (gate: 2.5)`);
}
