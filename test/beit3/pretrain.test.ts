import assert from 'node:assert/strict';
import { after, describe, it } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { SIZES } from '../../beit3/config.js';
import { maskedLosses } from '../../beit3/pretrain/losses.js';
import { Pretraining } from '../../beit3/pretrain/model.js';
import { PretrainTask, readLosses } from '../../beit3/pretrain/task.js';
import { manualSeed } from '../../core/random.js';
import { Builder, metaBackend } from '../../nn/builder.js';
import { batchOf, NO_DATA, noiseTokenizer, smallPretraining } from './pretrainBatches.js';

describe('masked data modelling', async () => {
  const backend = await useBackend('wasm', { threads: 1 });
  after(() => disposeBackend('wasm'));
  it('has the official sizes, and those of the paper for giant', () => {
    const count = (size: 'base' | 'large') =>
      new Pretraining(new Builder({ backend: metaBackend(), initialize: false }), SIZES[size], {
        codes: 8192,
      }).parameterCount();
    assert.equal((count('base') / 1e6).toFixed(1), '276.5');
    assert.equal((count('large') / 1e6).toFixed(1), '746.7');
    const giant = new Pretraining(new Builder({ backend: metaBackend(), initialize: false }), SIZES.giant, {
      codes: 8192,
    });
    const millions = (part: RegExp): number =>
      Math.round([...giant.namedParameters()].reduce((n, [name, p]) => n + (part.test(name) ? p.size : 0), 0) / 1e6);
    // Table 2 of the paper: vision and language experts, those for both, attention, 1.9B in all.
    assert.deepEqual(
      [/ffn\.A\.fc/, /ffn\.B\.fc/, /ffn\.VL\.fc/, /self_attn\..*_proj/].map(millions),
      [692, 692, 52, 317],
    );
    assert.ok(Math.abs(giant.parameterCount() / 1.9e9 - 1) < 0.03, `${giant.parameterCount()}`);
  });

  it('learns a batch by heart, in all three kinds, and frees what it uses', async () => {
    for (const extra of [{}, { shared_attention: true, vl_expert_layers: 1 }]) {
      manualSeed(3);
      const start = backend.stats.liveBytes;
      const tokenizer = noiseTokenizer();
      const model = smallPretraining(extra);
      const task = new PretrainTask(model, tokenizer, NO_DATA);
      const batch = batchOf(1);
      let numbers: Readonly<Record<string, number>> = {};
      let live = 0;
      const losses: number[] = [];
      for (let step = 0; step < 60; step++) {
        numbers = await task.step([batch], step, 4e-3);
        losses.push(numbers.loss);
        if (step === 1) live = backend.stats.liveBytes;
      }
      assert.equal(backend.stats.liveBytes, live, 'steps leave nothing behind');
      assert.ok(losses[59] < 0.25 * losses[0], `${losses[0]} to ${losses[59]}`);
      for (const name of ['imageAcc', 'textAcc', 'pairImageAcc', 'pairTextAcc'])
        assert.ok(numbers[name] > 0.8, JSON.stringify(numbers));
      const seen = await readLosses(
        maskedLosses(model.eval(), tokenizer, { ...batch, texts: null }, { backwards: false }),
      );
      assert.deepEqual(Object.keys(seen), [
        'image',
        'imageAcc',
        'pairImage',
        'pairImageAcc',
        'pairText',
        'pairTextAcc',
      ]);
      task.dispose();
      model.dispose();
      tokenizer.dispose();
      assert.equal(backend.stats.liveBytes, start);
    }
  });
});
