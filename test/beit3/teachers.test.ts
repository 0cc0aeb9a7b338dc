/** Teachers of VQ-KD against the official code; test/reference/vqkd.py made the files and the numbers. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { loadTeacher, type TeacherOptions } from '../../beit3/vqkd/teachers/load.js';
import type { Teacher } from '../../beit3/vqkd/teachers/teacher.js';
import { openCheckpoint, readFloat32, type WritableTensor, writeSafetensors } from '../../checkpoints/index.js';
import { InputError } from '../../core/errors.js';
import { Generator } from '../../core/random.js';
import { tensor } from '../../core/tensor.js';
import { assertClose } from '../support/compare.js';
import { fixture, readTensors, type StoredArray } from '../support/fixtures.js';
import { writeTinyCheckpoint } from './tinyModels.js';

const HEADS = { heads: 2 };
const CLIP = fixture('vqkd/clip.pt');
const DINO = fixture('vqkd/dino.pth');

describe('teachers', async () => {
  const backend = await useBackend('wasm', { threads: 1 });
  let expected: Map<string, StoredArray>;
  let folder = '';
  before(async () => {
    expected = await readTensors('vqkd/expected.safetensors');
    folder = await mkdtemp(join(tmpdir(), 'azulejo-teachers-'));
  });
  after(async () => {
    await rm(folder, { recursive: true });
    await disposeBackend('wasm');
  });

  const close = { absolute: 1e-5, relative: 1e-5 };
  const refused = (pattern: RegExp) => (error: unknown) => error instanceof InputError && pattern.test(error.message);

  async function compare(file: string, kind: string, size: string, options: TeacherOptions = {}): Promise<void> {
    const image = expected.get(`${kind}/${size}/image`) as StoredArray;
    const wanted = expected.get(`${kind}/${size}/features`) as StoredArray;
    const before = backend.stats.liveBytes;
    const teacher = await loadTeacher(file, { ...HEADS, ...options, imageSize: image.shape[2] });
    assert.deepEqual([teacher.kind, teacher.width], [kind, wanted.shape[2]]);
    const { values, shape } = await see(teacher, image);
    assert.deepEqual(shape, wanted.shape);
    assertClose(values, wanted.values as Float32Array, close, `${kind} ${size}`);
    teacher.dispose();
    assert.equal(backend.stats.liveBytes, before);
  }

  async function see(teacher: Teacher, { values, shape }: StoredArray) {
    const images = tensor(values as Float32Array, { shape });
    const features = teacher.features(images);
    const out = { values: (await features.data()) as Float32Array, shape: features.shape };
    images.dispose();
    features.dispose();
    return out;
  }

  for (const size of ['same', 'smaller', 'larger']) {
    it(`have the features of the official code, pictures being ${size} than those of their training`, async () => {
      await compare(CLIP, 'clip', size);
      await compare(DINO, 'dino', size);
    });
  }

  it('lie in official training checkpoints of VQ-KD, too', () => compare(fixture('vqkd/training.pth'), 'clip', 'same'));

  it("are read by Hugging Face's names", async () => {
    const path = join(folder, 'model.safetensors');
    const names: [RegExp, string][] = [
      [/^visual\.(class_embedding)$/, 'vision_model.embeddings.$1'],
      [/^visual\.conv1/, 'vision_model.embeddings.patch_embedding'],
      [/^visual\.positional_embedding/, 'vision_model.embeddings.position_embedding.weight'],
      [/^visual\.ln_pre/, 'vision_model.pre_layrnorm'],
      [/^visual\.ln_post/, 'vision_model.post_layernorm'],
      [/^visual\.transformer\.resblocks/, 'vision_model.encoder.layers'],
      [/ln_(\d)/, 'layer_norm$1'],
      [/attn/, 'self_attn'],
      [/mlp\.c_fc/, 'mlp.fc1'],
      [/mlp\.c_proj/, 'mlp.fc2'],
    ];
    const file = await openCheckpoint(CLIP);
    const tensors: WritableTensor[] = [];
    for (const [own, entry] of file.tensors) {
      if (!own.startsWith('visual.')) continue;
      const data = await readFloat32(entry);
      const name = names.reduce((text, [from, to]) => text.replace(from, to), own);
      if (own === 'visual.proj') {
        const [D, out] = entry.shape;
        const turned = data.map((_, i) => data[(i % D) * out + Math.floor(i / D)]);
        tensors.push({ name: 'visual_projection.weight', dtype: 'float32', shape: [out, D], data: turned });
      } else if (name.includes('in_proj')) {
        const shape = [entry.shape[0] / 3, ...entry.shape.slice(1)];
        const size = data.length / 3;
        for (const [i, letter] of ['q', 'k', 'v'].entries()) {
          const part = data.slice(i * size, (i + 1) * size);
          tensors.push({ name: name.replace('in_proj_', `${letter}_proj.`), dtype: 'float32', shape, data: part });
        }
      } else tensors.push({ name, dtype: 'float32', shape: entry.shape, data });
    }
    await file.close();
    await writeSafetensors(path, tensors);
    await compare(path, 'clip', 'same');
    await compare(path, 'clip', 'smaller');
  });

  it('may be any BEiT-3, whose patches stand for several in a finer grid', async () => {
    const path = await writeTinyCheckpoint('retrieval', join(folder, 'retrieval.pth'));
    const own = await loadTeacher(path);
    const { imageSize: side, grid, width } = own;
    const values = new Generator(4).normal(2 * 3 * side * side);
    const coarse = await see(own, { values, shape: [2, 3, side, side] });
    assert.deepEqual(coarse.shape, [2, grid * grid, width]);
    // Each with mean 0 and variance 1.
    const first = coarse.values.subarray(0, width);
    assert.ok(Math.abs(first.reduce((a, b) => a + b, 0) / width) < 1e-5);
    assert.ok(Math.abs(first.reduce((a, b) => a + b * b, 0) / width - 1) < 1e-2);
    const fine = await loadTeacher(path, { grid: 2 * grid, layer: 0 });
    const wanted = await loadTeacher(path, { layer: 0 });
    const seen = await see(fine, { values, shape: [2, 3, side, side] });
    assert.deepEqual([fine.grid, seen.shape], [2 * grid, [2, 4 * grid * grid, width]]);
    const plain = await see(wanted, { values, shape: [2, 3, side, side] });
    for (let b = 0; b < 2; b++)
      for (let i = 0; i < 4 * grid * grid; i++) {
        const [row, column] = [Math.floor(i / (2 * grid)), i % (2 * grid)];
        const from = (b * grid * grid + (row >> 1) * grid + (column >> 1)) * width;
        const at = (b * 4 * grid * grid + i) * width;
        assert.deepEqual(seen.values.subarray(at, at + width), plain.values.subarray(from, from + width), `patch ${i}`);
      }
    for (const one of [own, fine, wanted]) one.dispose();
    await assert.rejects(loadTeacher(path, { layer: 9 }), refused(/there is no layer 9/));
    await assert.rejects(loadTeacher(path, { grid: grid + 1 }), refused(/sees \d x \d patches of \d+ pixels/));
  });

  it('are refused where they are none, or cannot see as asked', async () => {
    await assert.rejects(loadTeacher(fixture('formats/zip.pth')), refused(/is no teacher; give CLIP/));
    await assert.rejects(loadTeacher(CLIP), refused(/no CLIP with a ViT of known sizes/));
    await assert.rejects(
      loadTeacher(CLIP, { ...HEADS, grid: 8 }),
      refused(/sees 4 x 4 patches of 8 pixels in pictures of 32, not 8 x 8/),
    );
    await assert.rejects(loadTeacher(DINO, { ...HEADS, layer: 1 }), refused(/is no BEiT-3/));
    await assert.rejects(loadTeacher(join(folder, 'none.pth')), refused(/none\.pth/));
  });
});
