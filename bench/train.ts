/**
 * `npm run bench:train`: training steps of BEiT-3-base (forward, loss, backward, clipping, AdamW) beside PyTorch eager in
 * the same run, one step here and one there, so that other load on the machine meets both: classification of 1000 classes,
 * or with `--task pretrain` masked data modelling on pictures, texts and pairs; see --help.
 */
import '../autograd/index.js';
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { disposeBackend, useBackend } from '../backends/index.js';
import { capture } from '../core/capture.js';
import { scope } from '../core/memory.js';
import type { Tensor } from '../core/tensor.js';
import { flagsOf, main } from './flags.js';
import { hardwareOf } from './hardware.js';
import { MODEL_FLAGS, modelOptions, tuneBy } from './modelFlags.js';
import { steppingPeer } from './peer.js';
import { classification, pretraining, TRAINED } from './trainTasks.js';

const FLAGS = {
  task: ['NAME', `what is trained: ${TRAINED.join(' or ')}; default: classification`],
  ...MODEL_FLAGS,
  batch: ['N', 'images; default: 32 on webgpu, else 4. pretrain: of each kind, 16 or 2'],
  length: ['N', 'tokens of a text alone in pretrain; default: 128'],
  words: ['N', 'words of the vocabulary in pretrain; default: 64010, as BEiT-3 has'],
} as const;

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

function report(name: string, samples: string, batch: number, { whole, ...parts }: Steps, megabytes: number): void {
  const { forward, backward, update, processor } = parts;
  // A replay has no parts.
  const split =
    forward.length === 0
      ? ', replayed'
      : `; forward ${ms(best(forward))}, backward ${ms(best(backward))}, update ${ms(best(update))}`;
  console.log(
    `${name.padEnd(9)} ${(batch / best(whole)).toFixed(2)} ${samples}/s: ${ms(best(whole))} a step (median ${ms(median(whole))}${split}), ` +
      `${best(processor).toFixed(2)} s of processor time, ` +
      `peak ${(megabytes / 1024).toFixed(2)} GiB`,
  );
}

await main(async () => {
  const flags = flagsOf('npm run bench:train -- [FLAGS]: training steps of BEiT-3-base, beside PyTorch eager', FLAGS);
  if (flags === null) return;
  const kind = flags.choice('task', TRAINED) ?? 'classification';
  const isPretraining = kind === 'pretrain';
  const length = flags.whole('length', 4, 1022) ?? 128;
  const words = flags.whole('words', 10, 1e6) ?? 64_010;
  const { device, adapter, threads, size, batch, layers, repeats, dtype, replay, peerDevice, json } = modelOptions(
    flags,
    isPretraining ? [2, 16] : [4, 32],
  );
  const backend = await useBackend(device, { threads, adapter });
  const hardware = await hardwareOf(backend.name, adapter);
  const half = dtype === 'float16';
  const options = { backend, batch, size, layers, length, words, half, lossScale: LOSS_SCALE };
  const { model, optimiser, maxNorm, gradients, ...task } = (isPretraining ? pretraining : classification)(options);

  /** The optimiser's step; the norm of the gradients, which is not finite where it has changed nothing. */
  const update = (): Tensor | null => {
    const norm = optimiser.step(half ? { maxNorm, scale: LOSS_SCALE } : { maxNorm });
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
    const begun = performance.now();
    const spent = { forward: 0, backward: 0 };
    let last = begun;
    const passed = (part: keyof typeof spent): void => {
      const now = performance.now();
      spent[part] += now - last;
      last = now;
    };
    const { loss, norm } = captured ? captured() : scope(() => ({ loss: gradients(passed), norm: update() }));
    const [, length] = await Promise.all([loss.item(), norm?.item()]);
    if (!Number.isFinite(length)) optimiser.takeBack();
    loss.dispose();
    norm?.dispose();
    const end = performance.now();
    if (steps === null) return;
    const { user, system } = process.cpuUsage(before);
    steps.processor.push((user + system) / 1e6);
    steps.whole.push((end - begun) / 1000);
    // A replay has no parts.
    if (captured) return;
    steps.forward.push(spent.forward / 1000);
    steps.backward.push(spent.backward / 1000);
    steps.update.push((end - last) / 1000);
  }

  const where = backend.name === 'wasm' ? `${threads} threads` : hardware;
  console.log(
    `BEiT-3-base${layers === 12 ? '' : ` with ${layers} of 12 layers`}, a training step of ${task.title}, ${dtype}, ${backend.name}, ${where}`,
  );
  const script = fileURLToPath(new URL(`../../bench/peers/${task.script}`, import.meta.url));
  const given = { threads, batch, size, layers, device: peerDevice, dtype, ...task.peerFlags };
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
  const noun = isPretraining ? 'samples' : 'images';
  const onHost = backend.host !== undefined;
  const megabytes = onHost ? process.resourceUsage().maxRSS / 1024 : backend.stats.peakBytes / 2 ** 20;
  report('azulejo', noun, task.samples, ours, megabytes);
  if (theirs.whole.length === 0) console.log(`pytorch   ${torch}`);
  else {
    report('pytorch', noun, task.samples, theirs, peerMegabytes);
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
    what: isPretraining ? 'pretraining step' : 'training step',
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
