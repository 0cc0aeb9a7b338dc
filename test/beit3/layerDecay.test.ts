import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseConfig, SIZES } from '../../beit3/config.js';
import { createModel } from '../../beit3/heads/index.js';
import { layerDecayGroups, layerOf } from '../../beit3/layerDecay.js';
import { parseViTConfig } from '../../beit3/vit/config.js';
import { MaskedImageModel } from '../../beit3/vit/maskedImageModel.js';
import { VIT_NAMING } from '../../beit3/vit/naming.js';
import { openCheckpoint } from '../../checkpoints/index.js';
import { Builder, metaBackend } from '../../nn/builder.js';
import { fixture, readJson } from '../support/fixtures.js';

test("every parameter has the reference's learning rate and weight decay", async () => {
  const file = await openCheckpoint(fixture('parity/optimizer_trace.safetensors'));
  const { config, groups, hyper } = file.metadata;
  await file.close();
  const wanted: Record<string, { lr_scale: number; weight_decay: number }> = JSON.parse(groups);
  const { weight_decay, layer_decay } = JSON.parse(hyper);
  const spec = {
    task: 'imageclassification',
    config: parseConfig(JSON.parse(config), 'config'),
    numClasses: 11,
  } as const;
  const model = createModel(new Builder({ backend: metaBackend(), initialize: false }), spec, { all: true });
  const options = { layers: spec.config.encoder_layers, layerDecay: layer_decay, weightDecay: weight_decay };

  const got = layerDecayGroups(model, options).flatMap((g) =>
    g.parameters.map(([name]): [string, number | undefined, number | undefined] => [name, g.lrScale, g.weightDecay]),
  );
  const byName = (a: [string, ...unknown[]], b: [string, ...unknown[]]) => (a[0] < b[0] ? -1 : 1);
  assert.deepEqual(
    got.sort(byName),
    Object.entries(wanted)
      .map(([name, g]): [string, number, number] => [name, g.lr_scale, g.weight_decay])
      .sort(byName),
  );
  assert.equal(new Set(got.map(([, scale]) => scale)).size, 5, 'embeddings, three layers, head');

  const plain = layerDecayGroups(model, { layers: 3 });
  assert.ok(plain.every((g) => g.lrScale === 1));
  assert.deepEqual([...new Set(plain.map((g) => g.weightDecay))].sort(), [0, 0.05]);
});

test('without layer decay the head may learn faster; with it, it does not', () => {
  const spec = { task: 'vqav2', config: parseConfig({}, 'config', SIZES.base), numClasses: 5 } as const;
  const model = createModel(new Builder({ backend: metaBackend(), initialize: false }), spec);
  const scales = (options: { layerDecay?: number; headLrWeight: number }) =>
    new Map(layerDecayGroups(model, { layers: 12, ...options }).map((g) => [g.parameters[0][0], g.lrScale]));
  const faster = scales({ headLrWeight: 20 });
  for (const [name, scale] of faster) assert.equal(scale, name.startsWith('head.') ? 20 : 1, name);
  assert.equal(faster.get('pooler.dense.weight'), 1);
  assert.equal(scales({ headLrWeight: 0.5 }).get('head.3.weight'), 1, 'below 1 it does not count');
  assert.equal(scales({ layerDecay: 0.9, headLrWeight: 20 }).get('head.3.weight'), 1);
});

test('those of BEiT have the ones of its optimiser', async () => {
  // Written by test/reference/beit.py: early layer 1, one layer behind, five codes.
  const { groups } = await readJson<{ groups: { sizes: object; of: Record<string, [number, number]> } }>('beit.json');
  const model = new MaskedImageModel(
    new Builder({ backend: metaBackend(), initialize: false }),
    parseViTConfig({ ...groups.sizes }, 'the test'),
    { codes: 5, aggregation: { earlyLayers: 1, headLayers: 1, sharedHead: true } },
  );
  const options = { layers: 2, layerDecay: 0.75, weightDecay: 0.05, naming: VIT_NAMING };
  const got = layerDecayGroups(model, options).map(({ parameters: [[name]], lrScale, weightDecay }) => [
    name,
    [lrScale, weightDecay],
  ]);
  assert.deepEqual(Object.fromEntries(got), groups.of);
});

test('the depth of a parameter follows from its name', () => {
  assert.equal(layerOf('beit3.vision_embed.cls_token', 12), 0);
  assert.equal(layerOf('beit3.encoder.embed_positions.A.weight', 12), 0);
  assert.equal(layerOf('beit3.encoder.layers.11.ffn.A.fc1.weight', 12), 12);
  assert.equal(layerOf('beit3.encoder.layer_norm.A.weight', 12), 13);
  assert.equal(layerOf('head.weight', 12), 13);
});
