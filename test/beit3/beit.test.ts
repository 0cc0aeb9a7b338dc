/** BEiT and BEiT v2 from files: what they are, at which resolution, and how their pictures look. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { loadClassifier } from '../../beit3/classifier.js';
import { decodeImage, preprocessImage } from '../../beit3/images/index.js';
import { pipeline } from '../../beit3/pipeline/index.js';
import { beitSpecOf, fittedEntries, loadBeit } from '../../beit3/vit/checkpoint.js';
import { parseViTConfig } from '../../beit3/vit/config.js';
import { MaskedImageModel } from '../../beit3/vit/maskedImageModel.js';
import { BEIT_MODELS, beitModel } from '../../beit3/vit/models.js';
import { resizeDistances } from '../../beit3/vit/resizeTables.js';
import { beitPreprocessing, describeBeit, inferBeit } from '../../beit3/vit/spec.js';
import { VisionTransformer } from '../../beit3/vit/visionTransformer.js';
import { InertObject, openCheckpoint, readFloat32, resizePositions } from '../../checkpoints/index.js';
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { Generator } from '../../core/random.js';
import { tensor } from '../../core/tensor.js';
import { Builder, metaBackend } from '../../nn/builder.js';
import { inputError } from '../checkpoints/helpers.js';
import { fixture } from '../support/fixtures.js';
import { writePhoto, writeTinyCheckpoint } from './tinyModels.js';

const DUMPS = ['beit_classification', 'beit2_pretrain_cls', 'beit2_pretrain_abs'] as const;
type DumpName = (typeof DUMPS)[number];

let backend: Backend;
let folder = '';
const at = (name: string): string => join(folder, name);

before(async () => {
  backend = await useBackend('wasm', { threads: 1 });
  folder = await mkdtemp(join(tmpdir(), 'azulejo-beit-'));
  for (const name of DUMPS) await writeTinyCheckpoint(name, at(`${name}.safetensors`), false);
  await writePhoto(at('red.png'), 220, 30, 20, 60, 48);
});
after(async () => {
  await rm(folder, { recursive: true, force: true });
  await disposeBackend('wasm');
});

const path = (name: DumpName): string => at(`${name}.safetensors`);

/** The config with which a dump was made. */
async function configOf(name: DumpName): Promise<Record<string, unknown>> {
  const file = await openCheckpoint(fixture(`parity/${name}.safetensors`));
  await file.close();
  return JSON.parse(file.metadata.config) as Record<string, unknown>;
}

describe('the official models', () => {
  const meta = () => new Builder({ backend: metaBackend(), initialize: false });

  it('have the parameters of the reference', () => {
    // Counted with the classes of the reference.
    const wanted = {
      beit_base_patch16_224: 86_530_984,
      beit_base_patch16_384: 86_744_104,
      beitv2_base_patch16_224: 86_530_984,
      beit_large_patch16_224: 304_430_568,
      beitv2_large_patch16_224: 304_430_568,
    };
    for (const [name, count] of Object.entries(wanted)) {
      const { config, classes, pooling } = beitModel(name);
      assert.equal(new VisionTransformer(meta(), config, { classes, pooling }).parameterCount(), count, name);
    }
    const pretraining = (name: string, extra: object, aggregation?: { earlyLayers: number; sharedHead?: boolean }) =>
      new MaskedImageModel(
        meta(),
        { ...beitModel(name).config, use_rel_pos_bias: false, use_shared_rel_pos_bias: true, ...extra },
        { codes: 8192, aggregation: aggregation && { headLayers: 2, sharedHead: true, ...aggregation } },
      ).parameterCount();
    const [base, large] = ['beitv2_base_patch16_224', 'beitv2_large_patch16_224'];
    assert.equal(pretraining(base, {}), 91_965_776);
    assert.equal(pretraining(base, {}, { earlyLayers: 9 }), 106_143_056);
    assert.equal(pretraining(base, {}, { earlyLayers: 9, sharedHead: false }), 112_444_240);
    assert.equal(pretraining(large, {}), 311_534_016);
    assert.equal(pretraining(large, {}, { earlyLayers: 21 }), 336_728_512);
    const absolute = { use_shared_rel_pos_bias: false, use_abs_pos_emb: true, init_values: 0 };
    assert.equal(pretraining(base, absolute), 92_089_856);
  });

  it('are told from tensors alone: what is inferred is what they were made from', () => {
    for (const [name, spec] of BEIT_MODELS) {
      const { config, classes, pooling } = spec;
      const shapes = new VisionTransformer(meta(), config, { classes, pooling }).stateDict();
      assert.deepEqual(inferBeit(shapes, `${name}_pt22k_ft1k.pth`), spec, name);
    }
    assert.throws(() => beitModel('beit_base_patch16_225'), inputError(/the nearest is beit_base_patch16_22/));
  });

  it('begin as the script for fine-tuning begins them', async () => {
    const sizes = { embed_dim: 64, num_heads: 2, depth: 2, img_size: 32, use_rel_pos_bias: true, init_values: 0.1 };
    const config = parseViTConfig({ ...sizes, use_abs_pos_emb: false }, 'the test');
    const generator = new Generator(1);
    const model = new VisionTransformer(new Builder({ generator }), config, { classes: 50, pooling: 'mean' });
    const spread = async (name: string): Promise<number[]> => {
      const values = (await model.stateDict().get(name)?.data()) as Float32Array;
      const deviation = Math.sqrt(values.reduce((n, v) => n + v * v, 0) / values.length);
      return [deviation, values.reduce((most, v) => Math.max(most, Math.abs(v)), 0)];
    };
    const near = (is: number, wanted: number) => assert.ok(Math.abs(is / wanted - 1) < 0.06, `${is}, not ${wanted}`);
    const [deviation, most] = await spread('blocks.0.mlp.fc1.weight');
    near(deviation, 0.02);
    assert.ok(most > 0.06, 'normal numbers are not cut');
    near((await spread('blocks.1.mlp.fc2.weight'))[0], 0.02 / 2);
    near((await spread('blocks.0.attn.proj.weight'))[0], 0.02 / Math.SQRT2);
    near((await spread('head.weight'))[0], 0.02 * 0.001);
    assert.deepEqual(await spread('blocks.1.attn.relative_position_bias_table'), [0, 0]);
    near((await spread('blocks.1.gamma_2'))[0], 0.1);
    model.dispose();
    const hidden = new MaskedImageModel(new Builder({ generator }), config, { codes: 50 });
    const values = (await hidden.blocks[0].mlp.fc1.weight.data()) as Float32Array;
    assert.ok(
      values.every((v) => Math.abs(v) <= 0.02 + 1e-9),
      'in pretraining they are, at one deviation',
    );
    hidden.dispose();
  });
});

describe('checkpoints of BEiT and BEiT v2', () => {
  for (const name of DUMPS) {
    it(`${name}: what it is is told from the tensors`, async () => {
      const made = await configOf(name);
      const file = await openCheckpoint(path(name));
      if (name === 'beit2_pretrain_abs')
        await assert.rejects(beitSpecOf(file, path(name)), inputError(/how many attention heads its width of 32 has/));
      const spec = await beitSpecOf(
        file,
        path(name),
        name === 'beit2_pretrain_abs' ? { config: { num_heads: 4 } } : {},
      );
      await file.close();
      const { layer_norm_eps, drop_path_rate, init_values, ...told } = spec.config;
      for (const [key, value] of Object.entries(told))
        if (made[key] !== undefined && key !== 'qkv_bias') assert.deepEqual(value, made[key], key);
      assert.equal(init_values > 0, Number(made.init_values ?? 0) > 0);
      if (name === 'beit_classification') {
        assert.deepEqual([spec.classes, spec.pooling === 'mean'], [made.num_classes, made.use_mean_pooling]);
        assert.equal(spec.pretraining, null);
      } else {
        assert.equal(spec.pretraining?.codes, made.vocab_size);
        assert.equal(spec.pretraining?.aggregation?.headLayers ?? 0, made.head_layers ?? 0);
      }
      const again = inferBeit(file.tensors, 'again', { config: JSON.parse(JSON.stringify(describeBeit(spec))) });
      assert.deepEqual(again, spec);
    });
  }

  it('are normalised as they were trained: by what a config, the arguments inside or an official name say', async () => {
    const file = await openCheckpoint(path('beit_classification'));
    await file.close();
    const statistics = (source: string, options: Parameters<typeof inferBeit>[2] = {}) =>
      inferBeit(file.tensors, source, options).statistics;
    assert.equal(statistics('x/beitv2_base_patch16_224_pt1k_ft1k.pth'), 'imagenet');
    assert.equal(statistics('beit_base_patch16_224_pt1k_800ep.pth'), 'imagenet');
    assert.equal(statistics('beit_base_patch16_224_pt22k_ft22k.pth'), 'vl');
    assert.equal(statistics('mine.pth'), 'vl');
    const args = (on: boolean) => ({
      args: new InertObject('argparse.Namespace', [], { imagenet_default_mean_and_std: on }),
    });
    assert.equal(statistics('mine.pth', { extra: args(true) }), 'imagenet');
    assert.equal(statistics('beitv2_mine.pth', { extra: args(false) }), 'vl');
    assert.equal(statistics('mine.pth', { config: { normalization: 'imagenet' }, extra: args(false) }), 'imagenet');
    assert.throws(
      () => statistics('m.pth', { config: { normalization: 'none' } }),
      inputError(/imagenet or inception/),
    );
    assert.throws(
      () => statistics('m.pth', { config: { depth: 9 } }),
      inputError(/says that depth is 9, but m\.pth has/),
    );
    assert.throws(() => statistics('m.pth', { config: { encoder_embed_dim: 768 } }), inputError(/config of a BEiT-3/));
  });

  it('classify pictures with their own crop and statistics', async () => {
    for (const normalization of ['imagenet', 'inception'] as const) {
      const pictures = normalization === 'imagenet' ? 'imagenet' : 'vl';
      const options = { checkpoint: path('beit_classification'), config: { normalization }, device: 'wasm' };
      using classify = await pipeline('classify', options);
      const found = await classify.run(at('red.png'), { top: 1000 });
      const { model, sizes, preprocessing } = await loadClassifier(path('beit_classification'), {
        config: { normalization },
      });
      assert.deepEqual(preprocessing, { pipeline: 'imagenet', statistics: pictures, cropRatio: 0.875 });
      const side = sizes.img_size;
      const pixels = preprocessImage(await decodeImage(at('red.png')), 'imagenet', {
        size: side,
        cropRatio: 0.875,
        statistics: pictures,
      });
      const logits = noGrad(() => scope(() => model.forward(tensor(pixels, { shape: [1, 3, side, side] }))));
      const values = (await logits.data()) as Float32Array;
      assert.equal(found[0].index, values.indexOf(Math.max(...values)));
      const ratio = Math.exp(values[found[0].index] - values[found[1].index]);
      assert.ok(Math.abs(found[0].probability / found[1].probability / ratio - 1) < 1e-4);
      logits.dispose();
      (model as VisionTransformer).dispose();
    }
    assert.equal(beitPreprocessing(beitModel('beit_large_patch16_384')).cropRatio, 1);
  });

  it('load at another resolution, tables and positions resized', async () => {
    const live = backend.stats.liveBytes;
    const file = await openCheckpoint(path('beit_classification'));
    const own = 'blocks.1.attn.relative_position_bias_table';
    const { config } = await beitSpecOf(file, path('beit_classification'));
    const grid = config.img_size / config.patch_size;
    const size = config.img_size + 2 * config.patch_size;
    const { model, spec } = await loadBeit(path('beit_classification'), { imageSize: size });
    assert.equal(spec.config.img_size, size);
    const entry = file.tensors.get(own);
    assert.ok(entry);
    const wanted = resizeDistances(await readFloat32(entry), grid, grid + 2);
    assert.deepEqual(await model.stateDict().get(own)?.data(), wanted);
    model.dispose();
    await file.close();

    const absolute = await openCheckpoint(path('beit2_pretrain_abs'));
    const table = absolute.tensors.get('pos_embed');
    assert.ok(table);
    const [, rows, D] = table.shape;
    const { entries, notes } = fittedEntries(
      absolute.tensors,
      parseViTConfig({ patch_size: 8, img_size: 8 * 5, embed_dim: D, num_heads: 1 }, 'the test'),
    );
    const resized = entries.get('pos_embed');
    assert.ok(resized);
    assert.deepEqual(await readFloat32(resized), resizePositions(await readFloat32(table), rows, D, 26, 1));
    assert.deepEqual(notes, [`Position table resized from ${rows} to 26 rows.`]);
    await absolute.close();
    assert.equal(backend.stats.liveBytes, live);
  });

  it('are refused where they cannot do what is asked', async () => {
    await assert.rejects(
      loadClassifier(path('beit2_pretrain_cls')),
      inputError(/pretrained and tells no classes apart/),
    );
    const other = pipeline('caption', { checkpoint: path('beit_classification'), device: 'wasm' });
    await assert.rejects(other, (error) => error instanceof InputError);
    await writeFile(at('config.json'), JSON.stringify({ encoder_embed_dim: 8 }));
    await assert.rejects(
      loadClassifier(path('beit_classification')),
      inputError(/config\.json is the config of a BEiT-3/),
    );
    await rm(at('config.json'));
  });
});
