/**
 * `node dist/bench/load.js CHECKPOINT.pth IMAGE`: loads a checkpoint and classifies a picture; prints the time, the
 * peak memory, and torch.load's time on the same file in the same run.
 */
import { spawnSync } from 'node:child_process';
import { disposeBackend, useBackend } from '../backends/index.js';
import { loadModel } from '../beit3/checkpoint.js';
import { pipeline } from '../beit3/pipeline/index.js';

const [checkpoint, image] = process.argv.slice(2);
if (!checkpoint || !image) {
  console.error('usage: node dist/bench/load.js CHECKPOINT IMAGE');
  process.exit(2);
}
await useBackend('wasm');
const start = performance.now();
const { model, unused } = await loadModel(checkpoint, { task: 'imageclassification' });
const seconds = (performance.now() - start) / 1000;
console.log(
  `azulejo     ${seconds.toFixed(2)} s for ${(model.parameterCount() / 1e6).toFixed(1)}M parameters (${unused.length} tensors not used)`,
);
model.dispose();
await disposeBackend('wasm');

const classify = await pipeline('classify', { checkpoint });
const [best] = await classify.run(image);
console.log(`classified  as ${JSON.stringify(best)}`);
await disposeBackend('wasm');
console.log(`peak RSS    ${(process.resourceUsage().maxRSS / 1024 / 1000).toFixed(2)} GB`);

const code =
  'import sys,time,torch; t=time.perf_counter(); torch.load(sys.argv[1], map_location="cpu"); print(time.perf_counter()-t)';
const peer = spawnSync(process.env.AZULEJO_PYTHON ?? 'python3', ['-c', code, checkpoint], { encoding: 'utf8' });
if (peer.status !== 0) console.log('torch.load  not measured: no Python with torch here');
else {
  const torch = Number(peer.stdout);
  console.log(`torch.load  ${torch.toFixed(2)} s`);
  console.log(`ratio       ${(seconds / torch).toFixed(2)} x the time of torch.load (gate: 2)`);
}
