import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
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

describe('parity reports', () => {
  it('a case with a wrong number is not ok, and its worst entry says how wrong', async () => {
    const { openCheckpoint, readFloat32, writeSafetensors } = await import('../../checkpoints/index.js');
    const { mkdtemp, rm } = await import('node:fs/promises');
    const { tmpdir } = await import('node:os');
    const { join } = await import('node:path');
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
