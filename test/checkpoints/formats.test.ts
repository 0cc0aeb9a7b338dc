import assert from 'node:assert/strict';
import { readFile, stat } from 'node:fs/promises';
import { test } from 'node:test';
import { InertObject, isTensorEntry, openCheckpoint, readFloat32, readInt32 } from '../../checkpoints/index.js';
import { allValues, fixture, inputError } from './helpers.js';

const WRITTEN_BY_TORCH = [
  { file: 'zip', format: 'pth-zip', extra: [] },
  { file: 'legacy', format: 'pth-legacy', extra: [] },
  { file: 'bare', format: 'pth-zip', extra: [] },
  { file: 'module', format: 'pth-zip', extra: [] },
  { file: 'training', format: 'pth-zip', extra: ['optimizer', 'epoch', 'scaler', 'args'] },
];

for (const { file, format, extra } of WRITTEN_BY_TORCH) {
  test(`${file}.pth holds the expected tensors`, async () => {
    const expected = await openCheckpoint(fixture('formats/expected.safetensors'));
    const checkpoint = await openCheckpoint(fixture(`formats/${file}.pth`));
    assert.equal(checkpoint.format, format);
    assert.deepEqual(Object.keys(checkpoint.extra), extra);
    const wanted = await allValues(expected);
    const got = await allValues(checkpoint);
    assert.equal(wanted.size, 17);
    assert.deepEqual([...got.keys()].sort(), [...wanted.keys()].sort());
    for (const [name, values] of wanted) assert.deepEqual(got.get(name), values, name);
    await checkpoint.close();
    await expected.close();
  });
}

test('a page reads the same from a File, a Blob or bytes', async () => {
  for (const name of ['zip.pth', 'legacy.pth', 'expected.safetensors']) {
    const bytes = await readFile(fixture(`formats/${name}`));
    const fromPath = await openCheckpoint(fixture(`formats/${name}`));
    const wanted = await allValues(fromPath);
    for (const from of [new File([bytes], name), new Blob([bytes]), bytes, Uint8Array.from(bytes).buffer]) {
      const checkpoint = await openCheckpoint(from);
      assert.deepEqual(await allValues(checkpoint), wanted);
      await checkpoint.close();
    }
    await fromPath.close();
  }
});

test('optimizer state and arguments are inert data', async () => {
  const { extra, close } = await openCheckpoint(fixture('formats/training.pth'));
  assert.equal(extra.epoch, 3);
  assert.deepEqual(extra.scaler, { scale: 65536 });
  assert.ok(extra.args instanceof InertObject);
  assert.equal(extra.args.class, 'argparse.Namespace');
  assert.deepEqual(extra.args.args, []);
  assert.deepEqual(extra.args.state, { lr: 0.001, model: 'x', betas: [0.9, 0.98], nested: { a: [1, null, true] } });
  const { state, param_groups: groups } = extra.optimizer as Record<string, Record<string, Record<string, unknown>>>;
  assert.deepEqual((groups as unknown as { betas: number[] }[])[0].betas, [0.9, 0.999]);
  const average = state['0'].exp_avg;
  assert.ok(isTensorEntry(average));
  assert.equal(average.name, 'optimizer.state.0.exp_avg');
  assert.deepEqual(average.shape, [3, 2]);
  assert.ok((await readFloat32(average)).every(Number.isFinite));
  await close();
});

test('tensors go into shared memory, converted or not', async () => {
  const { tensors, close } = await openCheckpoint(fixture('formats/zip.pth'));
  for (const name of ['f32', 'f16', 'bf16', 'f64', 'i64', 'transposed', 'bool']) {
    const entry = tensors.get(name)!;
    const plain = await readFloat32(entry);
    const shared = new Float32Array(new SharedArrayBuffer(plain.byteLength + 16), 8, plain.length);
    assert.deepEqual(Array.from(await readFloat32(entry, shared)), Array.from(plain), name);
    assert.ok(plain.some((value) => value !== 0));
    const bytes = new Uint8Array(new SharedArrayBuffer(entry.byteLength));
    assert.deepEqual(Array.from(await entry.read(bytes)), Array.from(await entry.read()));
  }
  await assert.rejects(tensors.get('f32')!.read(new Uint8Array(7)), inputError(/f32 holds 48 bytes/));
  await assert.rejects(
    readFloat32(tensors.get('f32')!, new Float32Array(3)),
    inputError(/12 values, which do not fit 3/),
  );
  await close();
});

test('integers are read as int32, range-checked', async () => {
  const { tensors, close } = await openCheckpoint(fixture('formats/zip.pth'));
  const i8 = new Int8Array((await tensors.get('i8')!.read()).buffer);
  assert.deepEqual(Array.from(await readInt32(tensors.get('i8')!)), Array.from(i8));
  await assert.rejects(readInt32(tensors.get('f32')!), inputError(/f32 is stored as float32; expected integers/));
  await close();
});

test('a truncated checkpoint is refused', async () => {
  await assert.rejects(openCheckpoint(fixture('formats/truncated.pth')), inputError(/truncated\.pth is truncated/));
});

test('a malicious checkpoint is refused by the name of what it calls, and nothing runs', async () => {
  await assert.rejects(
    openCheckpoint(fixture('formats/malicious.pth')),
    inputError(/malicious\.pth asks to call posix\.system,/),
  );
  await assert.rejects(stat('/tmp/pwned-by-pickle'));
});

test('what is not a checkpoint is refused in words', async () => {
  const text = (content: string) => openCheckpoint(new TextEncoder().encode(content), 'notes.txt');
  await assert.rejects(text(''), inputError(/^notes\.txt is empty/));
  await assert.rejects(text('hello world, this is not it'), inputError(/it starts with the text "hello world/));
  await assert.rejects(text('x'), inputError(/is not a checkpoint/));
  await assert.rejects(text('<!DOCTYPE html><html>'), inputError(/it is a web page/));
  await assert.rejects(text('version https://git-lfs.github.com/spec/v1\noid'), inputError(/Git LFS pointer/));
  await assert.rejects(text('PK\x03\x04 but nothing else'), inputError(/truncated/));
  await assert.rejects(openCheckpoint(fixture('formats/none.pth')), inputError(/^No such file: .*none\.pth/));
  await assert.rejects(openCheckpoint(fixture('formats')), inputError(/is a folder/));
  if (process.platform === 'linux') {
    await assert.rejects(openCheckpoint('/dev/zero'), inputError(/not a regular file/));
  }
});

test('a TorchScript archive, such as the published CLIP, gives the state dict of its module', async () => {
  const { tensors, format, extra, close } = await openCheckpoint(fixture('vqkd/clip.pt'));
  assert.deepEqual([format, extra], ['pth-zip', {}]);
  const { dtype, shape } = tensors.get('visual.transformer.resblocks.1.attn.in_proj_weight')!;
  assert.deepEqual([dtype, shape], ['float16', [96, 32]]);
  assert.equal(tensors.get('visual.ln_pre.weight')?.dtype, 'float32');
  assert.equal(tensors.get('text_projection')?.dtype, 'float16');
  // The tiny CLIP of test/reference/vqkd.py: 30 + 20 of the towers, and embeddings, norms and projections.
  assert.equal(tensors.size, 50);
  const values = await readFloat32(tensors.get('visual.proj')!);
  assert.ok(values.every(Number.isFinite) && values.some((v) => v !== 0));
  await close();
});
