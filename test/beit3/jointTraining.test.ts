import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { createBackend } from '../../backends/wasm/index.js';
import { parseConfig, TASKS } from '../../beit3/config.js';
import type { EmojiVqaExample } from '../../beit3/emoji/benchmark/index.js';
import { EmojiCorpus, type EmojiEntry } from '../../beit3/emoji/corpus.js';
import { emojiModelSpec } from '../../beit3/emoji/train.js';
import { BATCH, JointBatches } from '../../beit3/emoji/zoo/batches.js';
import type { JointData } from '../../beit3/emoji/zoo/data.js';
import { roundToHalf, saveJointModel } from '../../beit3/emoji/zoo/export.js';
import { parseJointFlags } from '../../beit3/emoji/zoo/flags.js';
import { JointLog } from '../../beit3/emoji/zoo/log.js';
import { JointModel, outputsOf } from '../../beit3/emoji/zoo/model.js';
import { jointLearningRate, PHASES, phaseOf } from '../../beit3/emoji/zoo/phases.js';
import { asStatements, asTwins } from '../../beit3/emoji/zoo/prepare.js';
import { loadRun, saveRun } from '../../beit3/emoji/zoo/state.js';
import { type JointStep, jointOptimiser, trainJoint } from '../../beit3/emoji/zoo/train.js';
import { createModel, loadModel } from '../../beit3/index.js';
import type { Backend } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { Generator } from '../../core/random.js';
import { Builder } from '../../nn/builder.js';

const SIZE = 8;
const COUNT = 140;
const CLASSES = 7;
const WORDS = 90;

/** As many things as a batch needs, in two styles, each a picture of chance, with texts that are no words. */
function chanceData(): JointData {
  const generator = new Generator(3);
  const entries: EmojiEntry[] = Array.from({ length: 2 * COUNT }, (_, image) => {
    const i = image % COUNT;
    const [label, group, subgroup] = [`thing ${i}`, 'objects', `part ${i % CLASSES}`];
    return {
      style: image < COUNT ? 'one' : 'two',
      hexcode: `1F${i}`,
      emoji: '',
      label,
      tags: [],
      group,
      subgroup,
      image,
    };
  });
  const pixels = Uint8Array.from(generator.uniform(entries.length * SIZE * SIZE * 3), (value) => 256 * value);
  const text = (seed: number) => Array.from(new Generator(seed).integers(1 + (seed % 4), 3, WORDS - 1));
  return {
    corpus: new EmojiCorpus(SIZE, ['one', 'two'], entries, pixels),
    emoji: Array.from({ length: COUNT }, (_, i) => ({
      entries: [entries[i], entries[COUNT + i]],
      texts: [text(i), text(i + 1000)],
      // One emoji of no class.
      label: i === 0 ? undefined : i % CLASSES,
    })),
    drawQuestions: (count, random) =>
      Array.from(random.integers(count, 0, COUNT), (i) => ({ entry: entries[i], ids: text(i), answer: i % 5 })),
    drawPairs: (count, random) =>
      Array.from(random.integers(count, 0, COUNT), (i) => ({
        first: entries[i],
        second: entries[COUNT - 1 - i],
        ids: text(i),
        isTrue: i % 2 === 0,
      })),
    answers: 5,
    special: { startId: 0, padId: 1, endId: 2, maskId: WORDS - 1 },
  };
}

const data = chanceData();
const { config } = emojiModelSpec({ width: 32, layers: 1, size: SIZE, patch: 4, vocabulary: WORDS });
const spec = { config, classes: CLASSES, answers: 5 };

describe('one model for five tasks', () => {
  let backend: Backend;
  let folder = '';
  before(async () => {
    backend = await createBackend({ threads: 1 });
    setDefaultBackend(backend);
    folder = await mkdtemp(join(tmpdir(), 'azulejo-joint-'));
  });
  after(async () => {
    setDefaultBackend(null);
    await backend.dispose();
    await rm(folder, { recursive: true, force: true });
  });
  const make = (seed = 1) => new JointModel(new Builder({ backend, generator: new Generator(seed) }), spec);

  it('has the union of the names of the models of the tasks, each of which is made of its weights', () => {
    const joint = make();
    const names = new Set<string>();
    for (const task of TASKS) {
      const own = createModel(
        new Builder({ backend }),
        { task, config, numClasses: outputsOf(task, spec) },
        { all: true },
      );
      for (const [name, t] of own.namedTensors()) {
        names.add(name);
        const shared = joint.stateDict().get(name);
        assert.deepEqual(shared?.shape, t.shape, `${task}: ${name}`);
        assert.equal(joint.of(task).stateDict().get(name), shared, `${task}: ${name}`);
      }
      own.dispose();
    }
    assert.deepEqual([...joint.stateDict().keys()].sort(), [...names].sort());
    joint.dispose();
  });

  it('is one file that loads for every task', async () => {
    const joint = make();
    await roundToHalf(joint);
    const path = join(folder, 'joint.safetensors');
    await saveJointModel(path, joint, { ...spec, config: parseConfig({ normalize_output: true }, 'test', config) });
    for (const task of TASKS) {
      const { model, spec: loaded } = await loadModel(path, { task, backend });
      assert.equal(loaded.numClasses, outputsOf(task, spec));
      assert.equal(loaded.config.encoder_attention_heads, config.encoder_attention_heads);
      assert.equal(loaded.config.image_background, 'white');
      for (const [name, t] of model.namedTensors()) {
        assert.deepEqual(await t.data(), await joint.stateDict().get(name)?.data(), `${task}: ${name}`);
      }
      model.dispose();
    }
    joint.dispose();
    assert.equal(parseConfig({}, 'test', config).image_background, undefined);
    assert.throws(
      () => parseConfig({ image_background: 'red' }, 'x.json', config),
      /x\.json: expected image_background/,
    );
  });

  it('sees batches that are a function of seed and step alone', () => {
    const count = 33;
    const forwards = new JointBatches(data, { seed: 5, steps: count });
    const steps = Array.from({ length: count }, (_, step) => forwards.at(step));
    const backwards = new JointBatches(data, { seed: 5, steps: count });
    for (let step = steps.length - 1; step >= 0; step -= 3) assert.deepEqual(backwards.at(step), steps[step]);
    assert.deepEqual(new Set(steps.map(({ task }) => task)), new Set(TASKS));
    assert.notDeepEqual(new JointBatches(data, { seed: 6, steps: count }).at(0), steps[0]);
    for (const { task, batch } of steps) {
      assert.equal(batch.size, BATCH[task]);
      assert.equal(batch.images.length, BATCH[task] * 3 * SIZE * SIZE);
      if (task !== 'captioning') continue;
      assert.ok(batch.predict.length >= batch.size, 'each caption has something to say');
      batch.predict.forEach((at, i) => {
        assert.equal(batch.masked[at], WORDS - 1);
        assert.equal(batch.targets[i], batch.ids[at]);
        assert.equal(batch.padding[at], 0);
        assert.notEqual(at % batch.length, 0, 'the start is no word');
      });
    }
  });

  it('has two phases, each with a learning rate that rises and falls', () => {
    assert.deepEqual(
      [phaseOf(19, 30), phaseOf(20, 30)],
      [
        { index: 0, step: 19 },
        { index: 1, step: 0 },
      ],
    );
    const rates = Array.from({ length: 3000 }, (_, step) => jointLearningRate(step, 3000));
    assert.ok(rates[1999] < 0.02 * PHASES[0].lr && rates[2999] < 0.02 * PHASES[1].lr);
    assert.ok(Math.abs(Math.max(...rates.slice(0, 2000)) - PHASES[0].lr) < 1e-6);
    assert.ok(Math.abs(Math.max(...rates.slice(2000)) - PHASES[1].lr) < 1e-6);
    for (const { cycle } of PHASES) assert.deepEqual(new Set(cycle), new Set(TASKS));
  });

  it('asks some questions as sentences, with the answers that these have', () => {
    const question = (text: string, answer: string): EmojiVqaExample => ({
      ...{ entry: data.emoji[1].entries[0], question: text, answer, form: 'label', choices: 2 },
    });
    const all = [question('is this a red apple?', 'yes'), question('is this a red apple?', 'no')];
    const kept = [question('is this a cat or a dog?', 'the first'), question('what sort of thing is this?', 'yes')];
    const many = asStatements([...Array.from({ length: 300 }, (_, i) => all[i % 2]), ...kept], 0.5, new Generator(1));
    assert.deepEqual(many.slice(-2), kept);
    const asked = many.slice(0, -2);
    const sentences = asked.filter((example) => !example.question.startsWith('is this'));
    assert.ok(sentences.length > 110 && sentences.length < 190);
    assert.equal(new Set(sentences.map((example) => example.question)).size, 6);
    asked.forEach((example, i) => {
      assert.match(example.question, / a red apple[.?]$/);
      const isThere = i % 2 === 0;
      assert.equal(example.answer === 'yes', example.question.startsWith('neither') ? !isThere : isThere);
    });

    const twins = asTwins([...Array.from({ length: 300 }, () => all[1]), ...kept], new Generator(2));
    assert.ok(twins.length > 150 && twins.length < 250);
    assert.equal(new Set(twins.map(({ sentence }) => sentence)).size, 4);
    for (const { left, right, sentence, label } of twins) {
      assert.equal(left, right);
      assert.equal(label, sentence === 'neither picture shows a red apple.');
    }
  });

  it('goes on after a stop to the same weights as without one', async () => {
    const steps = 24;
    const train = async (model: JointModel, from: number, to: number, path: string) => {
      const optimiser = jointOptimiser(model, 1);
      if (from > 0) assert.equal((await loadRun(path, model, optimiser, 'recipe')).step, from);
      const seen: JointStep[] = [];
      const stop = new AbortController();
      await trainJoint({
        ...{ model, optimiser, backend, steps, from, signal: stop.signal },
        batches: new JointBatches(data, { seed: 2, steps }),
        onStep: (step) => {
          seen.push(step);
          if (step.step === to) stop.abort();
        },
      });
      await saveRun(path, model, optimiser, { step: to, cpuSeconds: 1, recipe: 'recipe' });
      optimiser.dispose();
      return seen;
    };
    const whole = make();
    const before = backend.stats.liveBytes;
    const seen = await train(whole, 0, steps, join(folder, 'whole.safetensors'));
    assert.equal(backend.stats.liveBytes, before, 'a run frees all that it made');
    assert.equal(seen.length, steps);
    assert.ok(seen.every(({ loss, gradNorm }) => loss > 0 && gradNorm > 0));

    const path = join(folder, 'run.safetensors');
    const first = make();
    const stopAt = 18;
    await train(first, 0, stopAt, path);
    const second = make(99);
    const rest = await train(second, stopAt, steps, path);
    assert.deepEqual(rest, seen.slice(stopAt));
    for (const [name, t] of whole.namedTensors()) {
      assert.deepEqual(await second.stateDict().get(name)?.data(), await t.data(), name);
    }
    const optimiser = jointOptimiser(first, 1);
    await assert.rejects(loadRun(path, first, optimiser, 'another'), /a run of another recipe/);
    optimiser.dispose();
    for (const model of [whole, first, second]) model.dispose();
  });

  it('takes flags that can be', () => {
    assert.deepEqual(parseJointFlags(['--steps', '7', '--resume', 'none', '--output', 'x', '--threads', '2']), {
      ...parseJointFlags([]),
      ...{ steps: 7, resume: false, output: 'x', threads: 2 },
    });
    assert.throws(() => parseJointFlags(['--stepps', '7']), /Unknown option '--stepps'; see --help/);
    assert.throws(() => parseJointFlags(['--steps', '0']), /--steps must be a whole number from 1/);
    assert.throws(() => parseJointFlags(['--resume', 'yes']), /--resume must be auto or none/);
  });
});

it('the log of a run has a line for every hundred steps and one for the end, and loses what was not saved', async (t) => {
  const folder = await mkdtemp(join(tmpdir(), 'azulejo-log-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  const path = join(folder, 'log.jsonl');
  const step = (n: number): JointStep => ({ step: n, task: 'vqav2', loss: n, lr: 0.1, gradNorm: 2 });
  const steps = async () =>
    (await readFile(path, 'utf8'))
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
  const log = new JointLog(path);
  for (let n = 1; n <= 230; n++) await log.add(step(n), 60, n === 230);
  const written = await steps();
  assert.deepEqual(
    written.map((line) => [line.step, line.loss.vqav2]),
    [
      [100, 50.5],
      [200, 150.5],
      [230, 215.5],
    ],
  );
  const resumed = new JointLog(path);
  await resumed.resume(150);
  await resumed.add(step(151), 60, true);
  assert.deepEqual(
    (await steps()).map((line) => line.step),
    [100, 151],
  );
});
