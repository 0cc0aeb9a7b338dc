/** `npm run bench:model`: BEiT-3-base forward beside PyTorch eager in the same run; see --help. */
import { writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { disposeBackend, useBackend } from '../backends/index.js';
import { modelSpec } from '../beit3/config.js';
import { createModel } from '../beit3/heads/index.js';
import { capture } from '../core/capture.js';
import { scope } from '../core/memory.js';
import { noGrad } from '../core/modes.js';
import { cast, randn } from '../core/ops/index.js';
import { Builder } from '../nn/builder.js';
import { flagsOf, main } from './flags.js';
import { hardwareOf } from './hardware.js';
import { MODEL_FLAGS, modelOptions, tuneBy } from './modelFlags.js';
import { pythonPeer } from './peer.js';

const FLAGS = { ...MODEL_FLAGS, batch: ['N', 'images; default: 32 on webgpu, else 1'] } as const;

await main(async () => {
  const flags = flagsOf('npm run bench:model -- [FLAGS]: a forward pass of BEiT-3-base, beside PyTorch eager', FLAGS);
  if (flags === null) return;
  const { device, adapter, threads, size, batch, layers, repeats, dtype, replay, peerDevice, json } = modelOptions(
    flags,
    [1, 32],
  );
  const backend = await useBackend(device, { threads, adapter });
  const hardware = await hardwareOf(backend.name, adapter);
  const official = modelSpec('beit3_base_patch16_224_imageclassification');
  const spec = {
    ...official,
    task: 'imageclassification' as const,
    config: { ...official.config, img_size: size, encoder_layers: layers },
  };
  const model = createModel(new Builder({ dtype }), spec, { initialisation: 'magneto' }).eval();
  const image = scope(() => cast(randn([batch, 3, size, size]), dtype));
  const eager = () => scope(() => noGrad(() => model.forward(image)));
  await tuneBy(backend, () => eager().dispose());
  const step = replay ? capture(() => noGrad(() => model.forward(image))) : null;
  const forward = step ?? eager;
  const times: number[] = [];
  // The first passes let the engine optimise the kernels, and a GPU compile its own.
  for (let i = 0; i < repeats + 3; i++) {
    const start = performance.now();
    const logits = forward();
    await logits.data();
    if (i >= 3) times.push((performance.now() - start) / 1000);
    logits.dispose();
  }
  const replayed = step?.recording ? `, replayed (${step.recording.commands} commands)` : '';
  step?.dispose();
  model.dispose();
  image.dispose();
  await disposeBackend(backend.name);
  times.sort((a, b) => a - b);
  const tokens = (size / 16) ** 2 + 1;
  // Two operations per weight and token, and two products of length 64 per head and pair of tokens.
  const gflop = (batch * (2 * 85e6 * tokens + 12 * 4 * tokens * tokens * 768) * (layers / 12)) / 1e9;
  const [best, median] = [times[0], times[times.length >> 1]];
  const ms = (seconds: number) => `${(seconds * 1000).toFixed(seconds < 0.1 ? 1 : 0)} ms`;
  const where = backend.name === 'wasm' ? `${threads} threads` : hardware;
  console.log(
    `BEiT-3-base${layers === 12 ? '' : ` with ${layers} of 12 layers`}, ${batch} x ${size} px, ${dtype}, ${backend.name}, ${where}${replayed}`,
  );
  console.log(`azulejo   ${ms(best)} (median ${ms(median)}), ${(gflop / best).toFixed(1)} GFLOP/s`);

  const script = fileURLToPath(new URL('../../bench/peers/beit3_torch.py', import.meta.url));
  const given = { threads, size, batch, layers, repeats, device: peerDevice, dtype };
  const peer = pythonPeer(
    script,
    Object.entries(given).flatMap(([name, value]) => [`--${name}`, String(value)]),
  );
  if (peer === null) console.log('pytorch   not installed here (AZULEJO_PYTHON names another interpreter)');
  else if (peer.error !== undefined) console.log(`pytorch   ${peer.error}`);
  else {
    const seconds = Number(peer.seconds);
    console.log(`pytorch   ${ms(seconds)} (median ${ms(Number(peer.median))}), torch ${peer.torch}, ${peer.device}`);
    console.log(`ratio     ${(best / seconds).toFixed(2)} x the time of PyTorch (gate on a CPU: 2.5)`);
  }
  if (json === undefined) return;
  const figures = {
    what: 'forward',
    device: backend.name,
    hardware,
    batch,
    size,
    layers,
    dtype,
    replayed: replayed !== '',
    seconds: best,
    median,
    peer,
  };
  await writeFile(json, `${JSON.stringify(figures, null, 1)}\n`);
});
