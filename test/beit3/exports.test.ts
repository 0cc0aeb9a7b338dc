import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { loadModel } from '../../beit3/checkpoint.js';
import { TASKS } from '../../beit3/config.js';
import { openCheckpoint } from '../../checkpoints/index.js';
import type { Backend } from '../../core/backend.js';
import { batchFor, exportTiny, outputsOf } from '../reference/tinyExports.js';
import { readJson } from '../support/fixtures.js';

/** What the official PyTorch models hold, and what they made of our exports; written by test/reference/load_export.py. */
interface Found {
  readonly names: Record<string, number[]>;
  readonly outputs: Record<string, number[]>;
}

describe('exports of fine-tuned models', () => {
  let backend: Backend;
  let folder: string;
  let found: Record<string, Found>;
  before(async () => {
    backend = await useBackend('wasm', { threads: 1 });
    folder = await mkdtemp(join(tmpdir(), 'azulejo-exports-'));
    found = await readJson('exports.json');
  });
  after(async () => {
    await rm(folder, { recursive: true });
    await disposeBackend('wasm');
  });

  for (const task of TASKS) {
    it(`${task}: the names and shapes of the official model, and its outputs`, async () => {
      const files = await exportTiny(task, folder, backend);
      assert.equal(files.length, 2);
      for (const file of files) {
        const checkpoint = await openCheckpoint(file);
        const shapes = Object.fromEntries(
          [...checkpoint.tensors.values()].map(({ name, shape }) => [name, [...shape]]),
        );
        await checkpoint.close();
        assert.deepEqual(shapes, found[task].names, file);

        const { model, spec } = await loadModel(file, { backend });
        const outputs = await outputsOf(model, batchFor(spec), backend);
        model.dispose();
        assert.deepEqual(Object.keys(outputs), Object.keys(found[task].outputs));
        for (const [name, theirs] of Object.entries(found[task].outputs)) {
          assert.equal(outputs[name].length, theirs.length);
          const far = Math.max(...theirs.map((v, i) => Math.abs(outputs[name][i] - v)));
          assert.ok(far < 1e-5, `${name} of ${file} is ${far} away from PyTorch's`);
        }
      }
    });
  }
});
