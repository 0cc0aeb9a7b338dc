/**
 * `npm run bench:dispatch`: what a dispatch costs in JavaScript, eager and replayed; see --help. Waiting for the results is
 * left out, so on a CPU backend, where a call computes, the problems are small enough for the overhead to be most of it.
 */
import '../autograd/index.js';
import { writeFile } from 'node:fs/promises';
import { backendNames, disposeBackend, useBackend } from '../backends/index.js';
import { parseConfig } from '../beit3/config.js';
import { createModel } from '../beit3/heads/index.js';
import type { Backend } from '../core/backend.js';
import { capture } from '../core/capture.js';
import { InputError, messageOf } from '../core/errors.js';
import { scope } from '../core/memory.js';
import { noGrad } from '../core/modes.js';
import { add, layerNorm, linear, randn } from '../core/ops/index.js';
import { type Tensor, tensor } from '../core/tensor.js';
import { Builder } from '../nn/builder.js';
import { crossEntropy } from '../nn/losses.js';
import { AdamW } from '../nn/optim.js';
import { flagsOf, main } from './flags.js';
import { hardwareOf, machine } from './hardware.js';

const FLAGS = {
  device: ['NAME', `only this backend: ${backendNames().join(', ')}; default: all that the machine has`],
  adapter: ['NAME', 'GPU of the webgpu backend, by a part of its name; swiftshader is the software one'],
  threads: ['N', 'threads of the wasm backend; default: 1'],
  quick: [null, 'fewer repetitions: to see that it works'],
  json: ['FILE', 'write the figures to this file, too'],
} as const;

/** Launches in a row of one kernel. */
const CHAIN = 100;

/** What is measured: a function to call, and what to free. */
interface Work {
  readonly name: string;
  /** Its result is one tensor, which tells when all has finished. */
  readonly run: () => Tensor;
  dispose(): void;
}

/** Of many runs; other work on the machine only adds. */
interface Microseconds {
  readonly fastest: number;
  readonly median: number;
}

interface Figures {
  readonly device: string;
  readonly hardware: string;
  readonly name: string;
  readonly launches: number;
  /** Microseconds of JavaScript for each launch. */
  readonly eager: Microseconds;
  /** For each recorded command; null where the backend does not record. */
  readonly replayed: Microseconds | null;
  readonly commands: number | null;
}

function chains(): Work[] {
  const x = randn([1, 64]);
  const w = randn([64, 64]);
  const b = randn([64]);
  const kinds: Record<string, (t: Tensor) => Tensor> = {
    add: (t) => add(t, b),
    layerNorm: (t) => layerNorm(t, b, b),
    linear: (t) => linear(t, w, b, { activation: 'gelu' }),
  };
  const all = [x, w, b];
  return Object.entries(kinds).map(([name, kind]) => ({
    name: `${CHAIN} x ${name}`,
    run: () =>
      noGrad(() => {
        let t = x;
        for (let i = 0; i < CHAIN; i++) t = kind(t);
        return t;
      }),
    dispose: () => {
      for (const t of all) t.dispose();
    },
  }));
}

/** Forward, backward, clipping and AdamW of a small BEiT-3: what a real mixture of kernels costs. */
function trainingStep(): Work {
  const config = parseConfig(
    {
      encoder_embed_dim: 64,
      encoder_attention_heads: 2,
      encoder_ffn_embed_dim: 128,
      encoder_layers: 2,
      img_size: 32,
      patch_size: 16,
      vocab_size: 100,
      normalize_output: false,
    },
    'the benchmark',
  );
  const spec = { task: 'imageclassification' as const, config, numClasses: 10 };
  const model = createModel(new Builder(), spec, { initialisation: 'magneto' }).eval();
  const optimiser = new AdamW(model.namedParameters(), { lr: 1e-4 });
  const image = randn([2, 3, 32, 32]);
  const label = tensor(Int32Array.of(3, 7));
  return {
    name: 'training step of a small BEiT-3',
    run: () => {
      const loss = crossEntropy(model.forward(image), label);
      loss.backward();
      optimiser.step({ maxNorm: 1 })?.dispose();
      optimiser.zeroGrad();
      return loss.detach();
    },
    dispose: () => {
      for (const t of [image, label, optimiser, model]) t.dispose();
    },
  };
}

/** What `run` takes before it returns, shared among `count` launches. */
async function microseconds(
  run: () => Tensor,
  count: number,
  backend: Backend,
  repeats: number,
): Promise<Microseconds> {
  const times: number[] = [];
  for (let i = 0; i < repeats + 10; i++) {
    const start = performance.now();
    const result = run();
    const took = performance.now() - start;
    // What was queued is finished before the next is queued: a full queue would be waited for.
    await backend.sync();
    result.dispose();
    if (i >= 10) times.push((took * 1000) / count);
  }
  times.sort((a, b) => a - b);
  return { fastest: times[0], median: times[times.length >> 1] };
}

async function figuresOf(work: Work, backend: Backend, hardware: string, repeats: number): Promise<Figures> {
  const eagerly = () => scope(work.run);
  eagerly().dispose();
  eagerly().dispose();
  const before = backend.stats.launches;
  eagerly().dispose();
  const launches = backend.stats.launches - before;
  const eager = await microseconds(eagerly, launches, backend, repeats);
  const step = capture(work.run);
  try {
    for (let i = 0; i < 4; i++) step().dispose();
    const commands = step.recording?.commands ?? null;
    const replayed = commands === null ? null : await microseconds(step, commands, backend, repeats);
    return { device: backend.name, hardware, name: work.name, launches, eager, replayed, commands };
  } finally {
    step.dispose();
  }
}

const shown = (us: Microseconds | null): string =>
  us === null ? '-' : `${us.fastest.toFixed(2)} (${us.median.toFixed(2)})`;

const line = (cells: readonly string[]): string =>
  [cells[0].padEnd(10), cells[1].padEnd(34), ...cells.slice(2).map((c) => c.padStart(18))].join(' ');

await main(async () => {
  const flags = flagsOf('npm run bench:dispatch -- [FLAGS]: microseconds of JavaScript a dispatch', FLAGS);
  if (flags === null) return;
  const only = flags.text('device');
  const adapter = flags.text('adapter');
  if (only !== undefined && !backendNames().includes(only))
    throw new InputError(`There is no device ${only}; expected one of ${backendNames().join(', ')}.`);
  const rows: Figures[] = [];
  console.log('microseconds of JavaScript for each launch: the fastest run (and the median)\n');
  console.log(line(['device', 'work', 'launches', 'eager', 'commands', 'replayed']));
  for (const name of only ? [only] : backendNames()) {
    let backend: Backend;
    try {
      backend = await useBackend(name, { threads: flags.whole('threads', 1, 256) ?? 1, adapter });
    } catch (error) {
      if (only || !(error instanceof InputError)) throw error;
      console.log(`${name.padEnd(10)} left out: ${messageOf(error)}`);
      continue;
    }
    const hardware = await hardwareOf(name, adapter);
    // The reference backend computes in plain loops: a few repetitions say enough.
    const repeats = (flags.has('quick') ? 5 : 100) / (name === 'reference' ? 5 : 1);
    const works = [...chains(), trainingStep()];
    for (const work of works) {
      try {
        const row = await figuresOf(work, backend, hardware, repeats);
        rows.push(row);
        const { launches, eager, commands, replayed } = row;
        const cells = [launches, shown(eager), commands ?? '-', shown(replayed)];
        console.log(line([name, work.name, ...cells.map(String)]));
      } catch (error) {
        console.log(`${line([name, work.name])}  ${messageOf(error)}`);
        process.exitCode = 1;
      }
    }
    for (const work of works) work.dispose();
    await disposeBackend(name);
  }
  const json = flags.text('json');
  if (json === undefined) return;
  const report = { date: new Date().toISOString(), machine: machine(), node: process.versions.node, rows };
  await writeFile(json, `${JSON.stringify(report, null, 1)}\n`);
});
