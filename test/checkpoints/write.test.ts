import assert from 'node:assert/strict';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { crc32 as zlibCrc32 } from 'node:zlib';
import fc from 'fast-check';
import {
  type Checkpoint,
  InertObject,
  isTensorEntry,
  itemBytes,
  openCheckpoint,
  type Plain,
  pthBytes,
  type StoredDType,
  safetensorsBytes,
  type TensorEntry,
  type WritableTensor,
  writeFileAtomically,
  writePth,
  writeSafetensors,
} from '../../checkpoints/index.js';
import { crc32 } from '../../checkpoints/pth/crc32.js';
import { ensureFolder } from '../../checkpoints/sink.js';
import { allValues, fixture, inputError, temporaryFolder } from './helpers.js';

const DTYPES: StoredDType[] = [
  ...(['float32', 'float64', 'float16', 'bfloat16', 'int64', 'int32', 'int16', 'int8'] as const),
  ...(['uint8', 'uint16', 'uint32', 'uint64', 'bool', 'complex64', 'float8_e4m3fn', 'float8_e5m2'] as const),
];

const tensors = fc.uniqueArray(
  fc.record({
    name: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 12 }),
    dtype: fc.constantFrom(...DTYPES),
    shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }),
    seed: fc.nat(255),
    lazy: fc.boolean(),
  }),
  { selector: (tensor) => tensor.name, maxLength: 8 },
);

function build(specs: { name: string; dtype: StoredDType; shape: number[]; seed: number; lazy: boolean }[]) {
  return specs.map(({ name, dtype, shape, seed, lazy }): WritableTensor & { bytes: Uint8Array } => {
    const length = shape.reduce((a, b) => a * b, 1) * itemBytes(dtype);
    const bytes = Uint8Array.from({ length }, (_, i) => (dtype === 'bool' ? i & 1 : i * 31 + seed));
    return { name, dtype, shape, bytes, data: lazy ? async () => bytes : bytes };
  });
}

async function holds(checkpoint: Checkpoint, wanted: ReturnType<typeof build>): Promise<void> {
  const got = await allValues(checkpoint);
  assert.equal(got.size, wanted.length);
  for (const { name, dtype, shape, bytes } of wanted) assert.deepEqual(got.get(name), { dtype, shape, bytes });
}

test('what is written is read back, in either format, from bytes or a file', async (t) => {
  const folder = await temporaryFolder(t);
  await fc.assert(
    fc.asyncProperty(tensors, fc.constantFrom('model', 'module', null), async (specs, key) => {
      fc.pre(!specs.some(({ name }) => ['__metadata__', 'model', 'module', 'state_dict'].includes(name)));
      const wanted = build(specs);
      await holds(await openCheckpoint(await safetensorsBytes(wanted)), wanted);
      const bytes = await pthBytes(wanted, { key });
      await holds(await openCheckpoint(bytes), wanted);
      const path = join(folder, 'x');
      await writePth(path, wanted, { key });
      assert.deepEqual(new Uint8Array(await readFile(path)), bytes);
      const checkpoint = await openCheckpoint(path);
      await writeSafetensors(`${path}2`, checkpoint.tensors.values());
      await checkpoint.close();
      assert.deepEqual(new Uint8Array(await readFile(`${path}2`)), await safetensorsBytes(wanted));
    }),
  );
  assert.deepEqual((await readdir(folder)).sort(), ['x', 'x2']);
});

test('a header of any length is told from a pickle', async () => {
  for (let length = 1; length < 200; length++) {
    const [tensor] = build([{ name: 'n'.repeat(length), dtype: 'uint8', shape: [3], seed: 5, lazy: false }]);
    await holds(await openCheckpoint(await safetensorsBytes([tensor])), [tensor]);
  }
});

test('safetensors bytes are those of the official library', async () => {
  const official = await readFile(fixture('formats/expected.safetensors'));
  const { tensors: entries, metadata } = await openCheckpoint(official);
  const shuffled = [...entries.values()].reverse();
  assert.deepEqual(await safetensorsBytes(shuffled, metadata), new Uint8Array(official));
});

test('metadata and extras survive', async () => {
  const metadata = { task: 'vqa', 'ключ "\\': '\u0000ü' };
  assert.deepEqual({ ...(await openCheckpoint(await safetensorsBytes([], metadata))).metadata }, metadata);
  const extra = {
    epoch: 3,
    big: 2 ** 52,
    negative: -(2 ** 40),
    lr: 1e-3,
    zero: -0,
    nothing: null,
    on: true,
    text: 'naïve',
    list: [1, [2.5, false], {}],
    bytes: Uint8Array.of(0, 127, 128, 255),
    nested: { a: { b: [] } },
  };
  const { extra: got } = await openCheckpoint(await pthBytes([], { extra }));
  assert.deepEqual(got, extra);
});

test('optimizer state of a PyTorch checkpoint survives a rewrite', async () => {
  const source = await openCheckpoint(fixture('formats/training.pth'));
  const copy = await openCheckpoint(await pthBytes(source.tensors.values(), { extra: source.extra }));
  assert.deepEqual(await allValues(copy), await allValues(source));
  const average = (from: Checkpoint): TensorEntry => {
    const optimizer = from.extra.optimizer as { state: Record<string, Record<string, Plain>> };
    const entry = optimizer.state['0'].exp_avg;
    assert.ok(isTensorEntry(entry));
    return entry;
  };
  assert.deepEqual(await average(copy).read(), await average(source).read());
  assert.ok(source.extra.args instanceof InertObject);
  const args = copy.extra.args as { class: string; state: Plain };
  assert.deepEqual(args.state, source.extra.args.state);
  assert.equal(args.class, 'argparse.Namespace');
  await source.close();
});

test('storages of a .pth lie on 64-byte boundaries with the right checksums', async () => {
  const wanted = build([1, 2, 3].map((n) => ({ name: `t${n}`, dtype: 'uint8', shape: [n * 7], seed: n, lazy: false })));
  const bytes = await pthBytes(wanted);
  const view = new DataView(bytes.buffer);
  let at = view.getUint32(bytes.length - 6, true);
  for (let entries = 0; view.getUint32(at, true) === 0x02014b50; entries++) {
    const [crc, , size, nameLength] = [16, 20, 24, 28].map((field) => view.getUint32(at + field, true));
    const local = view.getUint32(at + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    assert.equal(start % 64, 0);
    assert.equal(crc, zlibCrc32(bytes.subarray(start, start + size)));
    at += 46 + (nameLength & 0xffff) + view.getUint16(at + 30, true);
    assert.ok(entries < 6);
  }
});

test('the checksum is that of zlib, in one piece or several', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, cut) => {
      assert.equal(crc32(bytes), zlibCrc32(bytes));
      assert.equal(crc32(bytes.subarray(cut), crc32(bytes.subarray(0, cut))), zlibCrc32(bytes));
    }),
  );
});

test('a failed write leaves the old file and nothing else', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'x.pth');
  await writeFile(path, 'old');
  const good: WritableTensor = { name: 'a', dtype: 'float32', shape: [2], data: new Float32Array(2) };
  const broken: WritableTensor = { ...good, name: 'b', data: () => Promise.reject(new Error('lost')) };
  await assert.rejects(writePth(path, [good, broken]), /lost/);
  await assert.rejects(writeSafetensors(path, [good, broken]), /lost/);
  await assert.rejects(
    writePth(path, [good, { ...good, name: 'c', data: () => new Float32Array(3) }]),
    inputError(/expected 8 bytes, got 12/),
  );
  assert.equal(await readFile(path, 'utf8'), 'old');
  assert.deepEqual(await readdir(folder), ['x.pth']);
});

test('what cannot be written is refused before anything is', async (t) => {
  const folder = await temporaryFolder(t);
  const path = join(folder, 'x');
  const good: WritableTensor = { name: 'a', dtype: 'float32', shape: [2], data: new Float32Array(2) };
  const cases: [() => Promise<unknown>, RegExp][] = [
    [() => writePth(path, [good, good]), /Two tensors are named a/],
    [() => writePth(path, [{ ...good, shape: [3] }]), /expected 12 bytes, got 8/],
    [() => writePth(path, [{ ...good, shape: [-2] }]), /no valid shape/],
    [() => writePth(path, [{ ...good, dtype: 'float3' as StoredDType }]), /unknown dtype float3/],
    [() => writePth(path, [good], { extra: { model: 1 } }), /model is both in extra and/],
    [
      () => writePth(path, [good], { extra: { when: new Date() as unknown as Plain } }),
      /when is an object with a class/,
    ],
    [() => writePth(path, [good], { extra: { f: (() => 1) as unknown as Plain } }), /f is a function/],
    [() => writeSafetensors(path, [{ ...good, name: '__metadata__' }]), /No tensor can be named __metadata__/],
    [() => writeSafetensors(path, [good], { epoch: 3 as unknown as string }), /Metadata epoch must be a text/],
    [() => writeSafetensors(join(path, 'no', 'x'), [good]), /its folder does not exist/],
    [() => writeFileAtomically(folder, async () => {}), /Cannot write/],
  ];
  for (const [writing, pattern] of cases) await assert.rejects(writing, inputError(pattern));
  const loop: Plain[] = [];
  loop.push(loop);
  await assert.rejects(pthBytes([good], { extra: { loop } }), inputError(/nested deeper than 200/));
  assert.deepEqual(await readdir(folder), []);
});

test('folders are made with all above them, or refused at once', async (t) => {
  const folder = await temporaryFolder(t);
  const deep = join(folder, 'a', 'b', 'c');
  await Promise.all([ensureFolder(deep), ensureFolder(deep)]);
  await ensureFolder(deep);
  assert.deepEqual(await readdir(join(folder, 'a', 'b')), ['c']);
  await writeFile(join(folder, 'file'), '');
  await assert.rejects(ensureFolder(join(folder, 'file')), { code: 'EEXIST' });
  await assert.rejects(ensureFolder(join(folder, 'file', 'below')), { code: 'EEXIST' });
  // Here mkdir's own recursion never ends.
  if (process.platform === 'linux') await assert.rejects(ensureFolder('/proc/none/below'), { code: 'ENOENT' });
});
