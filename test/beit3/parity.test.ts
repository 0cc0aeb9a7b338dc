import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { disposeBackend, loadBackend } from '../../backends/index.js';
import { runParity } from '../../beit3/parity/index.js';
import { fixture } from '../support/fixtures.js';

const dumps = readdirSync(fixture('parity')).filter((f) => f.endsWith('.safetensors'));

for (const name of ['reference', 'wasm']) {
  describe(`parity with the PyTorch reference on ${name}`, () => {
    after(() => disposeBackend(name));
    for (const file of dumps) {
      it(file, async () => {
        const backend = await loadBackend(name);
        const before = backend.stats.liveBytes;
        const report = await runParity([fixture(`parity/${file}`)], { backend });
        const [result] = report.cases;
        const wrong = (['outputs', 'hidden', 'grads'] as const).flatMap((group) =>
          Object.entries(result[group]).flatMap(([key, c]) =>
            c.ok ? [] : [`${group}/${key}: ${c.maxAbs}, ${c.relNorm}`],
          ),
        );
        assert.equal(result.error, undefined);
        assert.deepEqual(wrong, []);
        assert.ok(report.ok);
        assert.equal(backend.stats.liveBytes, before, 'bytes left after the case');
      });
    }
  });
}

/** What a dump of the fixtures says when something in its metadata is another. */
async function errorOf(file: string, change: (metadata: Record<string, string>) => Record<string, string>) {
  const { openCheckpoint, readFloat32, readInt32, writeSafetensors } = await import('../../checkpoints/index.js');
  const directory = await mkdtemp(join(tmpdir(), 'azulejo-parity-'));
  const backend = await loadBackend('reference');
  const checkpoint = await openCheckpoint(fixture(`parity/${file}`));
  try {
    const path = join(directory, 'changed.safetensors');
    const tensors = [...checkpoint.tensors.values()].map((t) => ({
      name: t.name,
      dtype: t.dtype === 'float32' ? t.dtype : ('int32' as const),
      shape: t.shape,
      data: () => (t.dtype === 'float32' ? readFloat32(t) : readInt32(t)),
    }));
    await writeSafetensors(path, tensors, change({ ...checkpoint.metadata }));
    const { liveBytes } = backend.stats;
    const { ok, cases } = await runParity([path], { backend });
    assert.equal(backend.stats.liveBytes, liveBytes, 'bytes left after the case');
    assert.equal(ok, cases[0].error === undefined);
    return cases[0].error ?? '';
  } finally {
    await checkpoint.close();
    await disposeBackend('reference');
    await rm(directory, { recursive: true });
  }
}

/** The metadata with other fields in one of its JSON objects; undefined takes one out. */
const withFields =
  (name: string, fields: Record<string, unknown>) =>
  (metadata: Record<string, string>): Record<string, string> => ({
    ...metadata,
    [name]: JSON.stringify({ ...JSON.parse(metadata[name]), ...fields }),
  });

describe('dumps that are wrong', () => {
  const file = 'optimizer_unclipped.safetensors';
  const wrong: Record<string, [(metadata: Record<string, string>) => Record<string, string>, RegExp]> = {
    'a config of monstrous sizes takes no memory': [
      withFields('config', { encoder_layers: 900, encoder_ffn_embed_dim: 262144 }),
      /says that encoder_ffn_embed_dim is 262144, but .* has 25;/,
    ],
    'a part of a layer': [
      withFields('config', { encoder_layers: 0.5 }),
      /encoder_layers (is 0\.5|to be a whole number)/,
    ],
    'a class count that is none': [withFields('config', { num_classes: -1 }), /expected num_classes in its config/],
    'a config that is null': [(m) => ({ ...m, config: 'null' }), /expected config .* to be a JSON object, got null\.$/],
    'hyper-parameters that are no object': [
      (m) => ({ ...m, hyper: '[]' }),
      /expected hyper .* JSON object, got \[\]\.$/,
    ],
    'a hyper-parameter that is no number': [withFields('hyper', { eps: 'x' }), /expected eps of hyper .*, got "x"\.$/],
    'an endless schedule': [withFields('hyper', { epochs: 1e12 }), /a schedule of at most 1000000 steps/],
    'a schedule that ends early': [
      withFields('hyper', { epochs: 1, steps_per_epoch: 1 }),
      /schedule ends after 1 steps/,
    ],
    'a setting that is empty': [(m) => ({ ...m, label_smoothing: '' }), /expected label_smoothing .* a number/],
    'a setting that an operation refuses': [
      (m) => ({ ...m, label_smoothing: '2' }),
      /changed\.safetensors: \[crossEntropy\]/,
    ],
  };
  for (const [title, [change, expected]] of Object.entries(wrong)) {
    it(title, async () => assert.match(await errorOf(file, change), expected));
  }

  it('weights of more layers than the config has', async () => {
    const error = await errorOf('encoder_text.safetensors', withFields('config', { encoder_layers: 2 }));
    assert.match(error, /says that encoder_layers is 2, but .* has 3;/);
  });

  it('what a config leaves out is told from the weights', async () => {
    const fields = [
      'encoder_ffn_embed_dim',
      'encoder_layers',
      'vocab_size',
      'normalize_output',
      'num_classes',
      'img_size',
    ];
    const change = withFields('config', Object.fromEntries(fields.map((name) => [name, undefined])));
    assert.equal(await errorOf(file, change), '');
  });
});

describe('parity reports', () => {
  it('a case with a wrong number is not ok, and its worst entry says how wrong', async () => {
    const { openCheckpoint, readFloat32, writeSafetensors } = await import('../../checkpoints/index.js');
    const directory = await mkdtemp(join(tmpdir(), 'azulejo-parity-'));
    const backend = await loadBackend('wasm');
    try {
      const checkpoint = await openCheckpoint(fixture('parity/encoder_vision.safetensors'));
      const changed = await readFloat32(checkpoint.tensors.get('hidden/1')!);
      changed[7] += 0.01;
      const tensors = [...checkpoint.tensors.values()].map((t) =>
        t.name === 'hidden/1' ? { name: t.name, dtype: t.dtype, shape: t.shape, data: changed } : t,
      );
      const path = join(directory, 'wrong.safetensors');
      await writeSafetensors(path, tensors, checkpoint.metadata);
      await checkpoint.close();
      const { ok, cases } = await runParity([path], { backend });
      assert.equal(ok, false);
      assert.equal(cases[0].hidden['1'].ok, false);
      assert.ok(Math.abs(cases[0].hidden['1'].maxAbs - 0.01) < 1e-4);
      assert.ok(cases[0].hidden['0'].ok);
    } finally {
      await disposeBackend('wasm');
      await rm(directory, { recursive: true });
    }
  });

  it('a file that is no dump is a case with one sentence', async () => {
    const backend = await loadBackend('reference');
    const { ok, cases } = await runParity([fixture('formats/expected.safetensors')], { backend });
    assert.equal(ok, false);
    assert.match(cases[0].error ?? '', /is not a parity dump: expected/);
  });
});
