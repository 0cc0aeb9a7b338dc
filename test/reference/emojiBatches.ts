/**
 * The training run of the shipped model for train.py:
 *
 *     node dist/test/reference/emojiBatches.js --steps 200 | python test/reference/train.py ... --save torch.safetensors
 *     node dist/test/reference/emojiBatches.js --steps 200 --train            the losses of the same steps here
 *     node dist/test/reference/emojiBatches.js --evaluate torch.safetensors   what weights can do, by our own measures
 *
 * --steps N     how many steps, the recipe's by default; the learning rate is always that of a run of --of N steps
 * --of N        steps of the whole run (the recipe's)
 * --seed N      of weights and batches (the recipe's)
 * --from FILE   goes on with a run of `npm run train:emoji`: out/zoo/run.safetensors of the same recipe
 * --threads N   of the wasm backend (2)
 */
import '../../autograd/index.js';
import { parseArgs } from 'node:util';
import { useBackend } from '../../backends/index.js';
import { loadEmojiCorpus } from '../../beit3/emoji/corpus.js';
import { JointBatches } from '../../beit3/emoji/zoo/batches.js';
import { evaluateJoint } from '../../beit3/emoji/zoo/evaluate.js';
import { roundToHalf } from '../../beit3/emoji/zoo/export.js';
import { JointModel, type JointSpec } from '../../beit3/emoji/zoo/model.js';
import { jointLearningRate } from '../../beit3/emoji/zoo/phases.js';
import { type PreparedBenchmark, prepareBenchmark, specOfRecipe } from '../../beit3/emoji/zoo/prepare.js';
import { RECIPE } from '../../beit3/emoji/zoo/recipe.js';
import { loadRun } from '../../beit3/emoji/zoo/state.js';
import { JOINT_SETTINGS, jointOptimiser, trainJoint } from '../../beit3/emoji/zoo/train.js';
import { openCheckpoint, readFloat32 } from '../../checkpoints/index.js';
import type { Backend } from '../../core/backend.js';
import { Generator } from '../../core/random.js';
import { Builder, writeValues } from '../../nn/builder.js';
import type { AdamW } from '../../nn/optim.js';
import { allHeads, type TrainingRun, type TrainingStep, trainingFrames, writeFrames } from './stream.js';

const { values } = parseArgs({
  options: {
    steps: { type: 'string' },
    of: { type: 'string', default: String(RECIPE.steps) },
    seed: { type: 'string', default: String(RECIPE.seed) },
    from: { type: 'string' },
    threads: { type: 'string', default: '2' },
    train: { type: 'boolean', default: false },
    evaluate: { type: 'string' },
  },
});
const total = Number(values.of);
const steps = Math.min(total, Number(values.steps ?? total));
const seed = Number(values.seed);

function runOf({ config, classes, answers }: JointSpec): TrainingRun {
  const { weightDecay, betas, maxNorm, labelSmoothing, dropWorstRatio } = JOINT_SETTINGS;
  return {
    config,
    heads: allHeads(config, classes, answers),
    optimizer: { weightDecay, betas, eps: 1e-8, maxNorm },
    loss: { labelSmoothing, dropWorstRatio },
    metadata: { format: 'pt', config: JSON.stringify({ ...config, multiway: true, subln: true }) },
  };
}

function* stepsOf(batches: JointBatches, from: number): IterableIterator<TrainingStep> {
  for (let step = from; step < steps; step++)
    yield { step, lr: jointLearningRate(step, total), batches: [batches.at(step)] };
}

interface Start {
  readonly model: JointModel;
  readonly optimiser: AdamW;
  readonly from: number;
}

async function train({ model, optimiser, from }: Start, batches: JointBatches, backend: Backend): Promise<void> {
  const stop = new AbortController();
  await trainJoint({
    model,
    optimiser,
    batches,
    backend,
    steps: total,
    from,
    signal: stop.signal,
    onStep: ({ step, task, loss, gradNorm }) => {
      console.log(JSON.stringify({ step: step - 1, task, loss, norm: gradNorm }));
      if (step === steps) stop.abort();
    },
  });
}

/** The weights of a file in 16 bits, as the shipped model is measured. */
async function evaluate(path: string, model: JointModel, corpus: Corpus, prepared: PreparedBenchmark): Promise<void> {
  const checkpoint = await openCheckpoint(path);
  for (const [name, t] of model.namedTensors()) {
    const entry = checkpoint.tensors.get(name);
    if (!entry) throw new Error(`${path} has no ${name}`);
    writeValues(t, await readFloat32(entry));
  }
  await checkpoint.close();
  await roundToHalf(model);
  model.eval();
  for (const [name, split] of prepared.splits)
    console.log(`${name}: ${JSON.stringify(await evaluateJoint({ model, corpus, ...prepared }, split))}`);
}

type Corpus = Awaited<ReturnType<typeof loadEmojiCorpus>>;

const backend = await useBackend('wasm', { threads: Number(values.threads) });
const corpus = await loadEmojiCorpus({ size: RECIPE.size });
const prepared = prepareBenchmark(corpus, RECIPE.vocabulary);
const spec = specOfRecipe(prepared);
const model = new JointModel(new Builder({ backend, generator: new Generator(seed) }), spec);
const batches = new JointBatches(prepared.data, { seed, steps: total });
if (values.evaluate !== undefined) await evaluate(values.evaluate, model, corpus, prepared);
else {
  const optimiser = jointOptimiser(model, RECIPE.layers);
  const recipe = JSON.stringify({ ...RECIPE, steps: total, seed });
  const from = values.from === undefined ? 0 : (await loadRun(values.from, model, optimiser, recipe)).step;
  if (values.train) await train({ model, optimiser, from }, batches, backend);
  else await writeFrames(trainingFrames(runOf(spec), model, stepsOf(batches, from), optimiser));
  optimiser.dispose();
}
await backend.dispose();
