/**
 * `npm run bench:train`: training steps of BEiT-3-base (1000 classes: forward, loss, backward, clipping, AdamW) beside
 * PyTorch eager in the same run, one step here and one there, so that other load on the machine meets both; see --help.
 */
import '../autograd/index.js';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { disposeBackend, useBackend } from '../backends/index.js';
import { modelSpec } from '../beit3/config.js';
import { createModel } from '../beit3/heads/index.js';
import { layerDecayGroups } from '../beit3/layerDecay.js';
import { capture } from '../core/capture.js';
import { scope } from '../core/memory.js';
import { affine, randn } from '../core/ops/index.js';
import { type Tensor, tensor } from '../core/tensor.js';
import { autocast } from '../nn/amp.js';
import { Builder } from '../nn/builder.js';
import { crossEntropy } from '../nn/losses.js';
import { AdamW } from '../nn/optim.js';
import { flagsOf, main } from './flags.js';
import { hardwareOf } from './hardware.js';
import { MODEL_FLAGS, modelOptions, tuneBy } from './modelFlags.js';
import { steppingPeer } from './peer.js';

const FLAGS = { ...MODEL_FLAGS, batch: ['N', 'images; default: 32 on webgpu, else 4'] } as const;

/** Steps before the clock: the engine optimises the kernels, both sides make their optimiser's state. */
const WARM_UP = 3;

/** What losses are multiplied with in float16, so that small gradients do not vanish: a power of 2 that does not overflow. */
const LOSS_SCALE = 1024;

/** One side's steps in seconds: the whole, and its parts (on a GPU: until each part is queued). */
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
const ms = (seconds: number): string => `${(seconds * 1000).toFixed(seconds < 0.1 ? 1 : 0)} ms`;

function report(name: string, batch: number, { whole, ...parts }: Steps, megabytes: number): void {
  const { forward, backward, update, processor } = parts;
  // A replay has no parts.
  const split =
    forward.length === 0
      ? ', replayed'
      : `; forward ${ms(best(forward))}, backward ${ms(best(backward))}, update ${ms(best(update))}`;
  console.log(
    `${name.padEnd(9)} ${(batch / best(whole)).toFixed(2)} images/s: ${ms(best(whole))} a step (median ${ms(median(whole))}${split}), ` +
      `${best(processor).toFixed(2)} s of processor time, ` +
      `peak ${(megabytes / 1024).toFixed(2)} GiB`,
  );
}

await main(async () => {
  const flags = flagsOf('npm run bench:train -- [FLAGS]: training steps of BEiT-3-base, beside PyTorch eager', FLAGS);
  if (flags === null) return;
  const { device, adapter, threads, size, batch, layers, repeats, dtype, replay, peerDevice, json } = modelOptions(
    flags,
    [4, 32],
  );
  const backend = await useBackend(device, { threads, adapter });
  const hardware = await hardwareOf(backend.name, adapter);
  const half = dtype === 'float16';
  const official = modelSpec('beit3_base_patch16_224_imageclassification');
  const spec = {
    ...official,
    task: 'imageclassification' as const,
    config: { ...official.config, img_size: size, encoder_layers: layers },
  };
  const model = createModel(new Builder(), spec, { initialisation: 'magneto' }).train();
  const groups = layerDecayGroups(model, { layers: spec.config.encoder_layers });
  const optimiser = new AdamW(groups, { lr: 1e-4, halfCopies: half });
  const image = randn([batch, 3, size, size]);
  const label = tensor(Int32Array.from({ length: batch }, (_, i) => (i * 37) % 1000));

  /** Forward and backward; told what has passed. */
  const gradients = (passed: () => void = () => {}): Tensor => {
    const forward = () => crossEntropy(model.forward(image), label);
    const loss = half ? autocast(backend, forward) : forward();
    passed();
    (half ? affine(loss, LOSS_SCALE, 0) : loss).backward();
    passed();
    return loss.detach();
  };
  /** The optimiser's step; the norm of the gradients, which is not finite where it has changed nothing. */
  const update = (): Tensor | null => {
    const norm = optimiser.step(half ? { maxNorm: 1, scale: LOSS_SCALE } : { maxNorm: 1 });
    optimiser.zeroGrad();
    return norm;
  };
  await tuneBy(backend, () =>
    scope(() => {
      gradients();
      optimiser.zeroGrad();
    }),
  );
  const captured = replay ? capture(() => ({ loss: gradients(), norm: update() })) : null;

  async function step(steps: Steps | null): Promise<void> {
    const before = process.cpuUsage();
    const times = [performance.now()];
    const passed = () => void times.push(performance.now());
    const { loss, norm } = captured ? captured() : scope(() => ({ loss: gradients(passed), norm: update() }));
    const [, length] = await Promise.all([loss.item(), norm?.item()]);
    if (!Number.isFinite(length)) optimiser.takeBack();
    loss.dispose();
    norm?.dispose();
    times.push(performance.now());
    if (steps === null) return;
    const { user, system } = process.cpuUsage(before);
    steps.processor.push((user + system) / 1e6);
    steps.whole.push(((times.at(-1) as number) - times[0]) / 1000);
    // A replay has no parts.
    if (captured) return;
    [steps.forward, steps.backward, steps.update].forEach((list, i) => {
      list.push((times[i + 1] - times[i]) / 1000);
    });
  }

  const where = backend.name === 'wasm' ? `${threads} threads` : hardware;
  console.log(
    `BEiT-3-base${layers === 12 ? '' : ` with ${layers} of 12 layers`}, a training step of ${batch} x ${size} px, ${dtype}, ${backend.name}, ${where}`,
  );
  const script = fileURLToPath(new URL('../../bench/peers/beit3_train_torch.py', import.meta.url));
  const given = { threads, batch, size, layers, device: peerDevice, dtype };
  let peer = steppingPeer(
    script,
    Object.entries(given).flatMap(([name, value]) => [`--${name}`, String(value)]),
  );
  const [ours, theirs] = [noSteps(), noSteps()];
  let torch = peer === null ? 'not installed here (AZULEJO_PYTHON names another interpreter)' : '';
  let peerMegabytes = 0;
  for (let i = 0; i < repeats + WARM_UP; i++) {
    const counts = i >= WARM_UP;
    await step(counts ? ours : null);
    const answer = await peer?.step();
    if (!answer) continue;
    if (answer.error !== undefined) {
      torch = String(answer.error);
      peer?.end();
      peer = null;
      continue;
    }
    torch = `${answer.torch}, ${answer.device}`;
    peerMegabytes = Number(answer.megabytes);
    if (!counts) continue;
    theirs.whole.push(Number(answer.seconds));
    theirs.forward.push(Number(answer.forward));
    theirs.backward.push(Number(answer.backward));
    theirs.update.push(Number(answer.update));
    theirs.processor.push(Number(answer.processor));
  }
  peer?.end();
  const onHost = backend.host !== undefined;
  const megabytes = onHost ? process.resourceUsage().maxRSS / 1024 : backend.stats.peakBytes / 2 ** 20;
  report('azulejo', batch, ours, megabytes);
  if (theirs.whole.length === 0) console.log(`pytorch   ${torch}`);
  else {
    report('pytorch', batch, theirs, peerMegabytes);
    const ratio = (of: (list: readonly number[]) => number, part: 'whole' | 'processor'): string =>
      (of(ours[part]) / of(theirs[part])).toFixed(2);
    console.log(
      `ratio     ${ratio(best, 'whole')} x the time of PyTorch ${torch} (gate on a CPU: 2.5), by medians ` +
        `${ratio(median, 'whole')}, by processor time ${ratio(best, 'processor')}`,
    );
  }
  captured?.dispose();
  optimiser.dispose();
  model.dispose();
  await disposeBackend(backend.name);
  if (json === undefined) return;
  const seconds = best(ours.whole);
  const missing = torch.startsWith('not installed') ? null : { error: torch };
  const peerFigures =
    theirs.whole.length === 0 ? missing : { seconds: best(theirs.whole), median: median(theirs.whole), torch };
  const figures = {
    what: 'training step',
    device: backend.name,
    hardware,
    batch,
    size,
    layers,
    dtype,
    replayed: replay,
    seconds,
  };
  await writeFile(
    json,
    `${JSON.stringify({ ...figures, median: median(ours.whole), megabytes, peer: peerFigures }, null, 1)}\n`,
  );
});
