/**
 * `npm run train:emoji`: trains the model that is shipped in beit3/zoo/emoji and measures it. A run that was stopped, by
 * whatever means, goes on when the command is given again. See beit3/zoo/emoji/README.md. Needs Node.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { backendNames, disposeBackend, useBackend } from '../../../backends/index.js';
import type { Backend } from '../../../core/backend.js';
import { InputError, messageOf } from '../../../core/errors.js';
import { Generator } from '../../../core/random.js';
import { Builder } from '../../../nn/builder.js';
import type { Chance } from '../benchmark/index.js';
import { loadEmojiCorpus } from '../corpus.js';
import { count, createLine, duration } from '../progress.js';
import { makeFolder, writeWhole } from '../results.js';
import { JointBatches } from './batches.js';
import { evaluateJoint, type JointScores } from './evaluate.js';
import { roundToHalf, saveJointModel } from './export.js';
import { type JointFlags, jointUsage, parseJointFlags } from './flags.js';
import { JointLog } from './log.js';
import { JointModel } from './model.js';
import { type PreparedBenchmark, prepareBenchmark, specOfRecipe } from './prepare.js';
import { RECIPE } from './recipe.js';
import { loadRun, saveRun } from './state.js';
import { jointOptimiser, trainJoint } from './train.js';

const SAVE_SECONDS = 120;

const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function trainEmoji(flags: JointFlags): Promise<void> {
  const backend = await useBackend('wasm', { threads: flags.threads });
  await makeFolder(flags.output);
  const line = createLine(process.stdout);
  const onProgress = (done: number, total: number) =>
    line.update(`drawing the emoji: ${count(done)} of ${count(total)}`);
  const corpus = await loadEmojiCorpus({ size: RECIPE.size, onProgress }).finally(() => line.end());
  const prepared = prepareBenchmark(corpus, RECIPE.vocabulary);
  const { config, classes, answers } = specOfRecipe(prepared);
  const spec = { config, classes, answers };
  const model = new JointModel(new Builder({ backend, generator: new Generator(flags.seed) }), spec);
  try {
    const done = await train(flags, backend, model, prepared);
    if (!done) return;
    await roundToHalf(model);
    const place = (name: string): string => join(flags.output, name);
    await saveJointModel(place('model.safetensors'), model, spec);
    await writeWhole(place('emoji.spm'), prepared.spm);
    await writeWhole(place('classes.txt'), `${prepared.classes.join('\n')}\n`);
    const answerLines = prepared.answers.map((answer, label) => JSON.stringify({ answer, label }));
    await writeWhole(place('answer2label.txt'), `${answerLines.join('\n')}\n`);
    const results: Record<string, { scores: JointScores; chance: Chance }> = {};
    for (const [name, split] of prepared.splits) {
      const scores = await evaluateJoint({ model, corpus, ...prepared }, split);
      results[name] = { scores, chance: split.chance };
      say(`${name}: ${JSON.stringify(scores)}`);
    }
    const { steps, seed } = flags;
    const recipe = { ...RECIPE, steps, seed, parameters: model.parameterCount(), ...done, results };
    await writeWhole(place('recipe.json'), `${JSON.stringify(recipe, null, 2)}\n`);
    say(`The model, its tokenizer and what it scored lie in ${flags.output}.`);
  } finally {
    model.dispose();
  }
}

/** Trains to the end; null when it was stopped before. */
async function train(
  flags: JointFlags,
  backend: Backend,
  model: JointModel,
  prepared: PreparedBenchmark,
): Promise<{ cpuMinutes: number } | null> {
  const { steps, seed } = flags;
  const statePath = join(flags.output, 'run.safetensors');
  const recipe = JSON.stringify({ ...RECIPE, steps, seed });
  const optimiser = jointOptimiser(model, RECIPE.layers);
  const log = new JointLog(join(flags.output, 'log.jsonl'));
  let from = 0;
  let cpuBefore = 0;
  if (flags.resume && existsSync(statePath)) {
    const progress = await loadRun(statePath, model, optimiser, recipe);
    from = progress.step;
    cpuBefore = progress.cpuSeconds;
    await log.resume(from);
    say(`Going on from step ${count(from)} of ${count(steps)}.`);
  }
  const cpuSeconds = (): number => {
    const { user, system } = process.cpuUsage();
    return cpuBefore + (user + system) / 1e6;
  };
  const stop = new AbortController();
  const onSignal = (): void => {
    // A second one does not wait.
    if (stop.signal.aborted) process.exit(130);
    stop.abort();
  };
  const signals = ['SIGINT', 'SIGTERM'] as const;
  for (const signal of signals) process.on(signal, onSignal);
  const line = createLine(process.stdout);
  const began = performance.now();
  let saved = began;
  let last = from;
  try {
    await trainJoint({
      model,
      optimiser,
      batches: new JointBatches(prepared.data, { seed, steps }),
      backend,
      steps,
      from,
      signal: stop.signal,
      async onStep(step) {
        last = step.step;
        await log.add(step, cpuSeconds(), last === steps);
        const now = performance.now();
        const left = ((now - began) / 1000 / (last - from)) * (steps - last);
        const losses = Object.entries(log.recent).map(([task, loss]) => `${task.slice(0, 4)} ${loss.toFixed(2)}`);
        line.update(`step ${count(last)}  ${losses.join(' ')}  ${duration(left)} left`);
        if (now - saved < 1000 * SAVE_SECONDS && last < steps) return;
        saved = now;
        await saveRun(statePath, model, optimiser, { step: last, cpuSeconds: cpuSeconds(), recipe });
      },
    }).finally(() => line.end());
    if (last === steps) return { cpuMinutes: Number((cpuSeconds() / 60).toFixed(1)) };
    await saveRun(statePath, model, optimiser, { step: last, cpuSeconds: cpuSeconds(), recipe });
    say(`Stopped after step ${count(last)} of ${count(steps)}; the same command goes on.`);
    return null;
  } finally {
    for (const signal of signals) process.off(signal, onSignal);
    optimiser.dispose();
  }
}

async function main(argv: readonly string[]): Promise<number> {
  try {
    const flags = parseJointFlags(argv);
    if (flags.help) say(jointUsage());
    else await trainEmoji(flags);
    return 0;
  } catch (error) {
    process.stderr.write(`train:emoji: ${messageOf(error)}\n`);
    return error instanceof InputError ? 2 : 1;
  } finally {
    for (const name of backendNames()) await disposeBackend(name).catch(() => {});
  }
}

process.exitCode = await main(process.argv.slice(2));
