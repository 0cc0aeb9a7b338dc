/** Masked image modelling end to end at tiny size, and what comes after it. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { writableTensors } from '../../beit3/checkpoint.js';
import { makeIndex } from '../../beit3/data/index/index.js';
import { type FinetuneEvent, type FinetuneOptions, finetune } from '../../beit3/finetune/index.js';
import { normalizeImage } from '../../beit3/images/preprocess.js';
import { type MimOptions, mim } from '../../beit3/mim/mim.js';
import { MIM_RECIPES } from '../../beit3/mim/settings.js';
import { maskedImageLosses } from '../../beit3/mim/task.js';
import { pipeline } from '../../beit3/pipeline/index.js';
import { exportWeights } from '../../beit3/training/export.js';
import type { RunEvent } from '../../beit3/training/run.js';
import type { TrainingResult } from '../../beit3/training/settings.js';
import { beitSpecOf, loadBeit } from '../../beit3/vit/checkpoint.js';
import { parseViTConfig } from '../../beit3/vit/config.js';
import { MaskedImageModel } from '../../beit3/vit/maskedImageModel.js';
import { BEIT_SIZES } from '../../beit3/vit/models.js';
import { describeVqKd, parseVqKdConfig } from '../../beit3/vqkd/config.js';
import { VqKd } from '../../beit3/vqkd/vqkd.js';
import { openCheckpoint, readFloat32 } from '../../checkpoints/index.js';
import type { Backend } from '../../core/backend.js';
import { scope } from '../../core/memory.js';
import { Generator } from '../../core/random.js';
import { tensor } from '../../core/tensor.js';
import { Builder, metaBackend } from '../../nn/builder.js';
import { inputError } from '../checkpoints/helpers.js';
import { maskedBatch, tinyPretrained } from '../reference/tinyBeit.js';
import { writePicture } from './standIns.js';

const SIZES = { img_size: 16, patch_size: 4, embed_dim: 32, depth: 3, num_heads: 2 };
const PICTURES = 24;

let backend: Backend;
let folder = '';
let tokenizer = '';
const at = (...names: string[]): string => join(folder, ...names);

async function writeTokenizer(path: string, sizes: object = {}): Promise<string> {
  const config = parseVqKdConfig(
    {
      ...{ img_size: 16, patch_size: 4, embed_dim: 16, num_heads: 2, encoder_depth: 1 },
      ...{ n_code: 12, code_dim: 4, decoder_out_dim: 8, ...sizes },
    },
    'the test',
  );
  const model = new VqKd(new Builder({ generator: new Generator(5) }), config);
  scope(() => {
    const pixels = new Generator(9).normal(32 * 3 * 16 * 16);
    model.quantize.begin(model.project(tensor(pixels, { shape: [32, 3, 16, 16] })), new Generator(3));
  });
  const [written] = await exportWeights(
    path,
    'safetensors',
    writableTensors(model.namedTensors()),
    describeVqKd(config),
  );
  model.dispose();
  return written;
}

before(async () => {
  backend = await useBackend('wasm', { threads: 1 });
  folder = await mkdtemp(join(tmpdir(), 'azulejo-mim-'));
  // Class folders, which both kinds of training read.
  for (const split of ['train', 'val'])
    for (let i = 0; i < PICTURES; i++) {
      const place = at('pictures', split, `class${i % 3}`);
      await mkdir(place, { recursive: true });
      await writePicture(join(place, `${i}.png`), i % 3);
    }
  await makeIndex('imagenet', { data: at('pictures') });
  tokenizer = await writeTokenizer(at('tokenizer'));
});
after(async () => {
  await rm(folder, { recursive: true, force: true });
  await disposeBackend('wasm');
});

let runs = 0;

function tiny(more: Partial<MimOptions> = {}): MimOptions {
  return {
    images: [at('pictures', 'train')],
    imageTokenizer: tokenizer,
    output: at(`mim-${runs++}`),
    model: SIZES,
    workers: 0,
    logDir: null,
    ...more,
    settings: {
      ...{ steps: 6, warmupSteps: 2, imageBatch: 6, updateFreq: 2, earlyLayers: 2, headLayers: 1, minBlock: 2 },
      ...{ dropPath: 0.2, lr: 2e-3, ...more.settings },
    },
  };
}

async function told(options: MimOptions): Promise<{ result: TrainingResult; events: RunEvent[]; notes: string }> {
  const events: RunEvent[] = [];
  const result = await mim({ ...options, onEvent: (event) => events.push(event) });
  return { result, events, notes: events.flatMap((e) => (e.type === 'note' ? [e.text] : [])).join('\n') };
}

async function weightsOf(path: string): Promise<Map<string, Float32Array>> {
  const file = await openCheckpoint(path);
  try {
    const floats = [...file.tensors].filter(([, { dtype }]) => dtype === 'float32');
    return new Map(await Promise.all(floats.map(async ([name, entry]) => [name, await readFloat32(entry)] as const)));
  } finally {
    await file.close();
  }
}

/** A run of fine-tuning on the same pictures. */
async function tuned(more: Partial<FinetuneOptions>) {
  const notes: string[] = [];
  const result = await finetune({
    task: 'imagenet',
    data: at('pictures'),
    output: at(`tuned-${runs++}`),
    batchSize: 6,
    epochs: 1,
    warmupEpochs: 0,
    workers: 0,
    logDir: null,
    onEvent: (event: FinetuneEvent) => event.type === 'note' && notes.push(event.text),
    ...more,
  });
  return { result, notes: notes.join('\n') };
}

describe('masked image modelling', () => {
  it('goes on where it was ended, to the same numbers, and exports what it was', async () => {
    const live = backend.stats.liveBytes;
    const whole = await told(tiny());
    const { steps, interrupted, model } = whole.result;
    assert.deepEqual([steps, interrupted], [6, false]);
    const logged = whole.events.flatMap((event) => (event.type === 'step' ? [event] : []));
    for (const { loss, mim, cls, mimAcc, clsAcc } of logged) {
      assert.ok(Math.abs(Number(loss) - Number(mim) - Number(cls)) < 1e-6);
      assert.ok(Number(mimAcc) >= 0 && Number(clsAcc) <= 1);
    }
    const options = tiny();
    const first = await told({ ...options, stopAfter: 3 });
    assert.deepEqual([first.result.interrupted, first.result.model], [true, null]);
    const rest = await told(options);
    assert.match(rest.notes, /Resumed from .*checkpoint-3\.safetensors, after step 3/);
    assert.deepEqual(await weightsOf(rest.result.model as string), await weightsOf(model as string));
    await assert.rejects(
      mim({ ...options, settings: { ...options.settings, imageMask: 0.5 } }),
      inputError(/image-mask/),
    );

    const file = await openCheckpoint(model as string);
    const spec = await beitSpecOf(file, model as string);
    await file.close();
    assert.deepEqual(spec.pretraining, { codes: 12, aggregation: { earlyLayers: 2, headLayers: 1, sharedHead: true } });
    assert.equal(spec.statistics, 'imagenet');
    const { img_size, patch_size, embed_dim, depth, num_heads } = spec.config;
    assert.deepEqual({ img_size, patch_size, embed_dim, depth, num_heads }, SIZES);
    assert.equal(backend.stats.liveBytes, live);
  });

  it('is fine-tuned from its export: shared tables go to all layers, what is of pretraining is left', async () => {
    const { result: pretrained } = await told(tiny());
    const checkpoint = pretrained.model as string;
    const { result, notes } = await tuned({ checkpoint, lr: 0, minLr: 0 });
    assert.match(notes, /all layers shared goes to each of the 3/);
    assert.match(notes, /^New, not in .*: fc_norm\.weight, fc_norm\.bias, head\.weight, head\.bias\.$/m);
    assert.match(
      notes,
      /^Not used of .*cls_pt_layers\.\*\.norm1.*lm_head\.weight, mask_token, norm\.bias, norm\.weight\.$/m,
    );
    const [before, after] = [await weightsOf(checkpoint), await weightsOf(result.models[0])];
    const shared = before.get('rel_pos_bias.relative_position_bias_table');
    for (let i = 0; i < 3; i++) assert.deepEqual(after.get(`blocks.${i}.attn.relative_position_bias_table`), shared);
    assert.deepEqual(after.get('blocks.1.mlp.fc1.weight'), before.get('blocks.1.mlp.fc1.weight'));
    assert.ok(!after.has('rel_pos_bias.relative_position_bias_table'));

    // What was fine-tuned classifies, with the statistics that it was pretrained with, and goes on at another size.
    const file = await openCheckpoint(result.models[0]);
    const spec = await beitSpecOf(file, result.models[0]);
    await file.close();
    assert.deepEqual([spec.classes, spec.pooling, spec.statistics], [3, 'mean', 'imagenet']);
    using classify = await pipeline('classify', { checkpoint: result.models[0], device: 'wasm' });
    assert.equal((await classify.run(at('pictures', 'val', 'class0', '0.png'))).length, 3);
    const larger = await tuned({ checkpoint: result.models[0], inputSize: 24, lr: 1e-3 });
    assert.match(larger.notes, /Relative positions resized from 4 x 4 to 6 x 6 patches/);
    assert.ok(!larger.notes.includes('New, not in'), 'the head stays');
  });

  it('is fine-tuned in parts to the numbers of one run', async () => {
    const { result: pretrained } = await told(tiny());
    const options = { checkpoint: pretrained.model as string, lr: 1e-3, dropPath: 0.3, modelEma: true };
    const whole = await tuned(options);
    const output = at('in-parts');
    assert.equal((await tuned({ ...options, output, steps: 2 })).result.steps, 2);
    const rest = await tuned({ ...options, output });
    assert.match(rest.notes, /Resumed from .*checkpoint-2\.safetensors/);
    assert.deepEqual(await weightsOf(rest.result.models[0]), await weightsOf(whole.result.models[0]));
  });

  it('is probed by a linear classifier of [CLS] or of the mean patch; nothing else moves', async () => {
    const { result: pretrained } = await told(tiny());
    const checkpoint = pretrained.model as string;
    const before = await weightsOf(checkpoint);
    for (const [pooling, norm] of [
      ['cls', 'norm.weight'],
      ['mean', 'fc_norm.weight'],
    ] as const) {
      const options = { checkpoint, linearProbe: true, pooling, lr: 1e-2, epochs: 2, output: at(`probe-${pooling}`) };
      const { result } = await tuned(options);
      const after = await weightsOf(result.models[0]);
      assert.ok(after.has(norm));
      for (const [name, values] of after) {
        const was = before.get(name);
        if (name.startsWith('head.'))
          assert.ok(
            values.some((v) => Math.abs(v) > 1e-3),
            name,
          );
        else if (was) assert.deepEqual(values, was, name);
        else if (name.startsWith('fc_norm')) assert.ok(values.every((v) => v === (name.endsWith('weight') ? 1 : 0)));
      }
      const log = await readFile(result.log, 'utf8');
      const losses = log.split('\n').flatMap((line) => (line === '' ? [] : [JSON.parse(line) as { loss?: number }]));
      assert.ok(losses.every(({ loss = 0 }) => Number.isFinite(loss)));
    }
    await assert.rejects(tuned({ task: 'nlvr2', checkpoint }), inputError(/the only task of theirs is imagenet/));
  });

  it('is probed behind any layer by [CLS] and the mean patch, and what lies behind is left out', async () => {
    const { result: pretrained } = await told(tiny());
    const checkpoint = pretrained.model as string;
    const before = await weightsOf(checkpoint);
    const probe = { checkpoint, linearProbe: true, lr: 1e-2, epochs: 2 };
    const { result, notes } = await tuned({ ...probe, probeLayer: 1, output: at('probe-layer') });
    assert.match(notes, /^Layers behind layer 1 are left out\.$/m);
    const after = await weightsOf(result.models[0]);
    assert.ok([...after.keys()].every((name) => /^(head|blocks\.0|cls_token|patch_embed)\b/.test(name)));
    for (const [name, values] of after) {
      const was = before.get(name);
      if (was) assert.deepEqual(values, was, name);
    }
    const { model, spec } = await loadBeit(result.models[0]);
    assert.deepEqual([spec.pooling, spec.config.depth], ['both', 1]);
    assert.deepEqual(model.head?.weight.shape, [3, 2 * spec.config.embed_dim]);
    model.dispose();
    const again = await tuned({ ...probe, checkpoint: result.models[0], probeLayer: 1, output: at('probe-again') });
    assert.doesNotMatch(again.notes, /New, not in/);
    const meaned = await tuned({ checkpoint: result.models[0], pooling: 'mean' });
    assert.match(meaned.notes, /^New, not in .*fc_norm.*head|^New, not in .*head.*fc_norm/m);
    await assert.rejects(tuned({ ...probe, probeLayer: 99 }), inputError(/has \d layers; --probe-layer is 99/));
    await assert.rejects(tuned({ checkpoint, probeLayer: 1 }), inputError(/give --linear-probe too/));
    await assert.rejects(tuned({ ...probe, probeLayer: 1, pooling: 'cls' }), inputError(/leave --pooling out/));
  });

  it('begins with a checkpoint: its sizes, heads and statistics hold, and BEiT gets [CLS] on demand', async () => {
    const beit = await told(
      tiny({ settings: { earlyLayers: 0, normalization: 'inception', steps: 2, warmupSteps: 0 } }),
    );
    const logged = beit.events.flatMap((event) => (event.type === 'step' ? [event] : []));
    assert.ok(logged.every((step) => step.cls === undefined && step.mim === step.loss));
    const checkpoint = beit.result.model as string;
    const more = { checkpoint, model: undefined };
    const options = tiny({ ...more, settings: { steps: 2, warmupSteps: 0, lr: 0, minLr: 0 } });
    const { earlyLayers: _, headLayers: __, ...settings } = options.settings ?? {};
    const same = await told({ ...options, settings });
    assert.doesNotMatch(same.notes, /New|Not used/);
    assert.deepEqual(await weightsOf(same.result.model as string), await weightsOf(checkpoint));
    const added = await told(tiny({ ...more, settings: { steps: 2, warmupSteps: 0 } }));
    assert.match(added.notes, /New, not in .*cls_pt_layers\.\*\.norm1/);
    const file = await openCheckpoint(added.result.model as string);
    assert.equal((await beitSpecOf(file, 'x')).statistics, 'vl');
    await file.close();
  });

  it('normalises the pictures of the model as it wants them', async () => {
    const model = tinyPretrained(backend).eval();
    const { batch } = maskedBatch(0);
    const bytes = Uint8Array.from(new Generator(4).integers(batch.images.length, 0, 256));
    const side = batch.side;
    const each = 3 * side * side;
    const pixels = (kind: 'vl' | 'imagenet') => {
      const out = new Float32Array(batch.images.length);
      for (let b = 0; b < batch.size; b++) {
        const data = bytes.subarray(b * each, (b + 1) * each);
        out.set(normalizeImage({ width: side, height: side, data }, kind), b * each);
      }
      return out;
    };
    const codes = { codes: 50, imageSize: side, grid: 4 };
    const encode = () => tensor(new Int32Array(batch.masked.length), { shape: [batch.size, 16] });
    const lossOf = async (images: Float32Array, statistics: 'vl' | 'imagenet'): Promise<number> => {
      const { mim, cls } = maskedImageLosses(model, { ...codes, encode }, { ...batch, images }, { statistics });
      const value = await mim.loss.item();
      for (const made of [mim, cls]) for (const t of Object.values(made ?? {})) t.dispose();
      return value;
    };
    const wanted = await lossOf(pixels('imagenet'), 'vl');
    assert.ok(Math.abs((await lossOf(pixels('vl'), 'imagenet')) / wanted - 1) < 1e-5);
    assert.ok(Math.abs((await lossOf(pixels('vl'), 'vl')) / wanted - 1) > 1e-3);
    model.zeroGrad();
    model.dispose();
  });

  it('refuses what does not fit together', async () => {
    await assert.rejects(mim(tiny({ images: [] })), inputError(/nothing to train on/));
    await assert.rejects(mim(tiny({ settings: { earlyLayers: 9 } })), inputError(/behind layer 9: the model has 3/));
    await assert.rejects(mim(tiny({ model: 'huge' })), inputError(/no size "huge"; expected base or large/));
    await assert.rejects(mim(tiny({ recipe: 'beitv2' })), inputError(/the nearest is beitv2-base/));
    await assert.rejects(mim(tiny({ model: { ...SIZES, img_size: 20 } })), inputError(/sees 4 x 4 patches/));
    await assert.rejects(mim(tiny({ imageTokenizer: at('none.pth') })), inputError(/none\.pth/));
  });

  it('has recipes whose models can be made', () => {
    for (const { name, model, settings } of MIM_RECIPES) {
      const sizes = typeof model === 'string' ? BEIT_SIZES[model] : model;
      const config = parseViTConfig({ ...sizes, init_values: settings.layerScale ?? 0.1 }, name);
      const made = new MaskedImageModel(new Builder({ backend: metaBackend(), initialize: false }), config, {
        codes: 8192,
      });
      assert.ok((settings.earlyLayers ?? 9) <= config.depth, name);
      assert.ok(made.parameterCount() > 1e6, name);
    }
    const of = (name: string) => MIM_RECIPES.find((recipe) => recipe.name === name)?.settings;
    assert.deepEqual(of('beitv2-base-300e'), { steps: 187_500, optBetas: [0.9, 0.98], dropPath: 0 });
    assert.equal(of('beitv2-large')?.layerScale, 1e-5);
  });
});
