/**
 * `npm run bench:train`: training steps of BEiT-3-base (224 px, 1000 classes, f32: forward, loss, backward, clipping,
 * AdamW) beside PyTorch eager in the same run, one step here and one there, so that other load on the machine meets both.
 * Flags: --threads N (2), --batch N (4), --size PIXELS (224), --repeats N (5).
 */
import '../autograd/index.js';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { disposeBackend, useBackend } from '../backends/index.js';
import { modelSpec } from '../beit3/config.js';
import { createModel } from '../beit3/heads/index.js';
import { layerDecayGroups } from '../beit3/layerDecay.js';
import { scope } from '../core/memory.js';
import { randn } from '../core/ops/index.js';
import { tensor } from '../core/tensor.js';
import { Builder } from '../nn/builder.js';
import { crossEntropy } from '../nn/losses.js';
import { AdamW } from '../nn/optim.js';
import { steppingPeer } from './peer.js';

const { values } = parseArgs({
  options: {
    threads: { type: 'string', default: '2' },
    batch: { type: 'string', default: '4' },
    size: { type: 'string', default: '224' },
    repeats: { type: 'string', default: '5' },
  },
});
const [threads, batch, size, repeats] = (['threads', 'batch', 'size', 'repeats'] as const).map((name) =>
  Number(values[name]),
);
/** Steps before the clock: the engine optimises the kernels, both sides make their optimiser's state. */
const WARM_UP = 3;

/** One side's steps in seconds: the whole, and its parts. */
interface Steps {
  readonly whole: number[];
  readonly forward: number[];
  readonly backward: number[];
  readonly update: number[];
  /** Time of all threads together: what a machine that is not quiet changes least. */
  readonly processor: number[];
}

const noSteps = (): Steps => ({ whole: [], forward: [], backward: [], update: [], processor: [] });
const sorted = (list: readonly number[]): number[] => [...list].sort((a, b) => a - b);
const best = (list: readonly number[]): number => sorted(list)[0];
const median = (list: readonly number[]): number => sorted(list)[list.length >> 1];
const ms = (seconds: number): string => `${(seconds * 1000).toFixed(0)} ms`;

const backend = await useBackend('wasm', { threads });
const official = modelSpec('beit3_base_patch16_224_imageclassification');
const spec = { ...official, task: 'imageclassification' as const, config: { ...official.config, img_size: size } };
const model = createModel(new Builder(), spec, { initialisation: 'magneto' }).train();
const groups = layerDecayGroups(model, { layers: spec.config.encoder_layers });
const optimiser = new AdamW(groups, { lr: 1e-4 });
const image = randn([batch, 3, size, size]);
const label = tensor(Int32Array.from({ length: batch }, (_, i) => (i * 37) % 1000));

async function step(steps: Steps | null): Promise<void> {
  const before = process.cpuUsage();
  const times = [performance.now()];
  const loss = scope(() => {
    const loss = crossEntropy(model.forward(image), label);
    times.push(performance.now());
    loss.backward();
    times.push(performance.now());
    return loss.detach();
  });
  optimiser.step({ maxNorm: 1 })?.dispose();
  optimiser.zeroGrad();
  await loss.item();
  loss.dispose();
  times.push(performance.now());
  if (steps === null) return;
  const { user, system } = process.cpuUsage(before);
  steps.processor.push((user + system) / 1e6);
  steps.whole.push((times[3] - times[0]) / 1000);
  [steps.forward, steps.backward, steps.update].forEach((list, i) => {
    list.push((times[i + 1] - times[i]) / 1000);
  });
}

function report(name: string, { whole, forward, backward, update, processor }: Steps, megabytes: number): void {
  console.log(
    `${name.padEnd(9)} ${(batch / best(whole)).toFixed(2)} images/s: ${ms(best(whole))} a step (median ${ms(median(whole))}; ` +
      `forward ${ms(best(forward))}, backward ${ms(best(backward))}, update ${ms(best(update))}), ` +
      `${best(processor).toFixed(2)} s of processor time, ` +
      `peak ${(megabytes / 1024).toFixed(2)} GiB`,
  );
}

console.log(`BEiT-3-base, a training step of ${batch} x ${size} px, ${threads} threads, ${backend.name}`);
const flags = { threads, batch, size };
const script = fileURLToPath(new URL('../../bench/peers/beit3_train_torch.py', import.meta.url));
const peer = steppingPeer(
  script,
  Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]),
);
const [ours, theirs] = [noSteps(), noSteps()];
let torch = '';
let peerMegabytes = 0;
for (let i = 0; i < repeats + WARM_UP; i++) {
  const counts = i >= WARM_UP;
  await step(counts ? ours : null);
  const answer = await peer?.step();
  if (!answer) continue;
  torch = String(answer.torch);
  peerMegabytes = Number(answer.megabytes);
  if (!counts) continue;
  theirs.whole.push(Number(answer.seconds));
  theirs.forward.push(Number(answer.forward));
  theirs.backward.push(Number(answer.backward));
  theirs.update.push(Number(answer.update));
  theirs.processor.push(Number(answer.processor));
}
peer?.end();
report('azulejo', ours, process.resourceUsage().maxRSS / 1024);
if (peer === null) console.log('pytorch   not installed here (AZULEJO_PYTHON names another interpreter)');
else {
  report('pytorch', theirs, peerMegabytes);
  const ratio = (of: (list: readonly number[]) => number, part: 'whole' | 'processor'): string =>
    (of(ours[part]) / of(theirs[part])).toFixed(2);
  console.log(
    `ratio     ${ratio(best, 'whole')} x the time of PyTorch ${torch} (gate: 2.5), by medians ${ratio(median, 'whole')}, ` +
      `by processor time ${ratio(best, 'processor')}`,
  );
}
optimiser.dispose();
model.dispose();
await disposeBackend('wasm');
