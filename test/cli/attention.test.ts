import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { useBackend } from '../../backends/index.js';
import { AttentionPipeline, meanMap } from '../../beit3/attention/attention.js';
import { overlay, sheet } from '../../beit3/attention/overlay.js';
import { decodeImage } from '../../beit3/images/index.js';
import { parseViTConfig } from '../../beit3/vit/config.js';
import { indexTensor } from '../../beit3/vit/relativePositions.js';
import { VisionTransformer } from '../../beit3/vit/visionTransformer.js';
import { shippedModel } from '../../beit3/zoo/shipped.js';
import { scope } from '../../core/memory.js';
import { linear, matmul, permute, reshape, slice } from '../../core/ops/index.js';
import { Generator } from '../../core/random.js';
import { tensor } from '../../core/tensor.js';
import { Builder, writeValues } from '../../nn/builder.js';
import { tinyModel } from '../beit3/tinyBatches.js';
import { writePhoto, writeTinyCheckpoint } from '../beit3/tinyModels.js';
import { inputError } from '../checkpoints/helpers.js';
import { assertClose } from '../support/compare.js';
import { beit3 } from './command.js';

describe('attention', () => {
  let folder = '';
  let photo = '';
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'azulejo-attention-'));
    photo = join(folder, 'photo.png');
    await writePhoto(photo, 200, 30, 30, 60, 40);
  });
  after(() => rm(folder, { recursive: true, force: true }));

  it('gives each patch its share, seen from [CLS], a patch or a text', async () => {
    const { checkpoint, tokenizer } = await shippedModel();
    const attention = await AttentionPipeline.create({ checkpoint, tokenizer, device: 'wasm' }, true);
    try {
      const cls = await attention.run(photo);
      assert.equal(cls.heads.length, 5);
      for (const { values } of cls.heads) {
        const all = values.reduce((a, b) => a + b, 0);
        assert.ok(all > 0 && all < 1, `${all}`);
      }
      const first = await attention.run(photo, { layer: 0, from: [1, 0] });
      const text = await attention.run(photo, { text: 'a red apple' });
      assert.equal(first.layer, 0);
      assert.notDeepEqual(meanMap(text).values, meanMap(cls).values);
      await assert.rejects(attention.run(photo, { layer: 9 }), /there is no layer 9/);
      await assert.rejects(attention.run(photo, { from: [2, 0] }), /no patch 2,0/);
      await assert.rejects(attention.run(photo, { from: 'text' }), /needs a text/);
    } finally {
      attention.dispose();
    }
  });

  it('shows what the layers compute with: probabilities times values are what attention puts out', async () => {
    await useBackend('wasm', { threads: 1 });
    const model = tinyModel('vqav2');
    const { self_attn } = model.beit3.encoder.layers[1];
    const [B, L, D, H, split] = [2, 7, 32, 2, 4];
    const made = scope(() => {
      const x = tensor(new Generator(3).normal(B * L * D), { shape: [B, L, D] });
      const hidden = Uint8Array.from({ length: B * L }, (_, i) => (i >= B * L - 2 ? 1 : 0));
      const context = { split, keyPadding: tensor(hidden, { shape: [B, L], dtype: 'bool' }), bias: null };
      const values = permute(reshape(self_attn.v_proj.forward(x, split), [B, L, H, D / H]), [0, 2, 1, 3]);
      const looked = matmul(self_attn.probabilities(x, context), values);
      const o = reshape(permute(looked, [0, 2, 1, 3]), [B, L, D]);
      const slow = self_attn.out_proj.forward(self_attn.inner_attn_ln.forward(o, split), split);
      return { slow, fast: self_attn.forward(x, context, null, null) };
    });
    const [slow, fast] = [await made.slow.data(), await made.fast.data()];
    assertClose(fast, slow, { absolute: 1e-5, relative: 1e-4 }, 'attention');
    made.slow.dispose();
    made.fast.dispose();
    model.dispose();
  });

  it('is that of the layers of BEiT too, with tables of its own, shared ones, or neither', async () => {
    await useBackend('wasm', { threads: 1 });
    const sizes = { img_size: 12, patch_size: 4, embed_dim: 16, num_heads: 2, depth: 1, use_abs_pos_emb: false };
    for (const kind of [{ use_rel_pos_bias: true }, { use_shared_rel_pos_bias: true }, { qkv_bias: 'whole' }]) {
      const config = parseViTConfig({ ...sizes, ...kind }, 'the test');
      const random = new Generator(4);
      const model = new VisionTransformer(new Builder({ generator: random }), config, {
        classes: 0,
        pooling: 'mean',
      });
      for (const [, t] of model.namedTensors())
        writeValues(
          t,
          random.normal(t.size).map((v) => 0.3 * v),
        );
      const [B, N, D, H] = [2, 10, 16, 2];
      const made = scope(() => {
        const x = tensor(random.normal(B * N * D), { shape: [B, N, D] });
        const { attn } = model.blocks[0];
        const index = indexTensor(3, x);
        const bias = model.rel_pos_bias?.forward(index) ?? null;
        const context = { bias, index: config.use_rel_pos_bias ? index : null };
        const weights = slice(attn.qkv.weight, 0, 2 * D);
        const all = attn.qkv.bias ? slice(attn.qkv.bias, 0, 2 * D) : attn.v_bias;
        const values = permute(reshape(linear(x, weights, all, {}), [B, N, H, D / H]), [0, 2, 1, 3]);
        const looked = matmul(attn.probabilities(x, context), values);
        const slow = attn.proj.forward(reshape(permute(looked, [0, 2, 1, 3]), [B, N, D]));
        return { slow, fast: attn.forward(x, context) };
      });
      const [slow, fast] = [await made.slow.data(), await made.fast.data()];
      assertClose(fast, slow, { absolute: 1e-5, relative: 1e-4 }, JSON.stringify(kind));
      made.slow.dispose();
      made.fast.dispose();
      model.dispose();
    }
  });

  it('is shown of any BEiT and of visual tokenizers; those read no texts', async () => {
    const backend = await useBackend('wasm', { threads: 1 });
    const live = backend.stats.liveBytes;
    for (const [dump, layers, heads] of [
      ['beit_classification', 3, 4],
      ['beit2_pretrain_cls', 4, 4],
      ['vqkd_tokenize', 2, 4],
    ] as const) {
      const checkpoint = await writeTinyCheckpoint(dump, join(folder, `${dump}.safetensors`));
      const attention = await AttentionPipeline.create({ checkpoint, device: 'wasm' }, false);
      try {
        const first = await attention.run(photo, { layer: 0 });
        const last = await attention.run(photo, { from: [1, 2] });
        assert.deepEqual([last.layer, last.heads.length, last.heads[0].rows], [layers - 1, heads, 4], dump);
        assert.notDeepEqual(meanMap(first).values, meanMap(last).values);
        const all = meanMap(last).values.reduce((a, b) => a + b, 0);
        assert.ok(all > 0.5 && all < 1, `${dump}: ${all}`);
      } finally {
        attention.dispose();
      }
      await assert.rejects(
        AttentionPipeline.create({ checkpoint, device: 'wasm' }, true),
        inputError(/reads no texts/),
      );
    }
    const tokenizer = { checkpoint: join(folder, 'vqkd_tokenize.safetensors'), device: 'wasm', imageSize: 64 };
    await assert.rejects(AttentionPipeline.create(tokenizer, false), inputError(/of its own size, 32/));
    const classifier = { checkpoint: join(folder, 'beit_classification.safetensors'), device: 'wasm', imageSize: 48 };
    const larger = await AttentionPipeline.create(classifier, false);
    assert.equal((await larger.run(photo)).heads[0].rows, 6);
    larger.dispose();
    assert.equal(backend.stats.liveBytes, live);
  });

  it('paints what gets most red and what gets least blue', () => {
    const white = { width: 8, height: 4, data: new Uint8Array(96).fill(255) };
    const { data } = overlay(white, { rows: 1, columns: 2, values: Float32Array.of(0.1, 0.4) });
    assert.ok(data[2] > data[0], 'left is blue');
    assert.ok(data[21] > data[23], 'right is red');
    const whole = sheet([white, white, white]);
    assert.deepEqual([whole.width, whole.height], [20, 12]);
  });

  it('writes a PNG of the picture, and refuses what makes no sense', async () => {
    const output = join(folder, 'map.png');
    const done = await beit3(['attention', photo, '--head', 'all', '--output', output, '--json']);
    assert.equal(done.code, 0, done.stderr);
    const { rows, columns, maps } = JSON.parse(done.stdout) as { rows: number; columns: number; maps: number[][] };
    assert.deepEqual([rows, columns, maps.length], [2, 2, 5]);
    const picture = await decodeImage(new Uint8Array(await readFile(output)));
    assert.deepEqual([picture.width, picture.height], [188, 84]);
    const beit = await writeTinyCheckpoint('beit_classification', join(folder, 'beit.pth'));
    const shown = await beit3(['attention', photo, '--checkpoint', beit, '--output', output, '--json']);
    assert.equal(shown.code, 0, shown.stderr);
    const refusal = await beit3(['attention', photo, '--checkpoint', beit, '--text', 'a cat']);
    assert.deepEqual([refusal.code, /beit\.pth holds a BEiT, which reads no texts/.test(refusal.stderr)], [2, true]);
    for (const wrong of [
      ['--head', 'x'],
      ['--head', '5'],
      ['--from', '1;2'],
      ['--output', 'a.jpg'],
    ]) {
      const refused = await beit3(['attention', photo, ...wrong]);
      assert.equal(refused.code, 2);
      assert.equal(refused.stderr.trim().split('\n').at(-1)?.endsWith('.'), true, refused.stderr);
    }
  });
});
