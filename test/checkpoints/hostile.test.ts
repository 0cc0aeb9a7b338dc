import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { collectBytes, InertObject, openCheckpoint } from '../../checkpoints/index.js';
import { ZipWriter } from '../../checkpoints/pth/zipWriter.js';
import { InputError } from '../../core/errors.js';
import { fixture, inputError, valuesOf } from './helpers.js';

/** A checkpoint around a pickle written by hand (latin-1 text) with one storage of `bytes` bytes. */
function zipWith(pickle: string, bytes = 16, byteorder = 'little'): Promise<Uint8Array> {
  return collectBytes(async (sink) => {
    const zip = new ZipWriter(sink);
    const add = (name: string, content: Uint8Array) => zip.add(name, content.length, (entry) => entry.write(content));
    await add('a/data.pkl', Buffer.from(pickle, 'latin1'));
    await add('a/byteorder', Buffer.from(byteorder));
    await add(
      'a/data/0',
      Uint8Array.from({ length: bytes }, (_, i) => i),
    );
    await zip.finish();
  });
}

const u32 = (value: number): string => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes.toString('latin1');
};
const text = (value: string): string => `X${u32(value.length)}${value}`;
const int = (value: number): string => `I${value}\n`;
const tuple = (values: number[]): string => `(${values.map(int).join('')}t`;
const storage = (type = 'torch\nFloatStorage', count = 4): string =>
  `(${text('storage')}c${type}\n${text('0')}${text('cpu')}${int(count)}tQ`;
const tensor = (shape: number[], strides: number[], offset = 0, place = storage()): string =>
  `ctorch._utils\n_rebuild_tensor_v2\n(${place}${int(offset)}${tuple(shape)}${tuple(strides)}I00\nNtR`;
/** {'w': <value>} */
const dict = (value: string): string => `\x80\x02}${text('w')}${value}s.`;

const open = async (pickle: string, bytes?: number, byteorder?: string) =>
  openCheckpoint(await zipWith(pickle, bytes, byteorder), 'evil.pth');
const refused = async (pickle: string, pattern: RegExp) => assert.rejects(open(pickle), inputError(pattern));

test('what runs code in Python is refused by name', async () => {
  const calls: [string, string][] = [
    ['posix\nsystem', 'posix.system'],
    ['os\npopen', 'os.popen'],
    ['subprocess\nPopen', 'subprocess.Popen'],
    ['builtins\neval', 'builtins.eval'],
    ['__builtin__\nexec', '__builtin__.exec'],
    ['builtins\ngetattr', 'builtins.getattr'],
    ['builtins\n__import__', 'builtins.__import__'],
    ['importlib\nimport_module', 'importlib.import_module'],
    ['torch.hub\nload', 'torch.hub.load'],
    ['torch\nload', 'torch.load'],
    ['operator\nattrgetter', 'operator.attrgetter'],
    ['runpy\n_run_code', 'runpy._run_code'],
    ['numpy.testing._private.utils\nrunstring', 'numpy.testing._private.utils.runstring'],
  ];
  for (const [name, shown] of calls) {
    const pattern = new RegExp(`^evil\\.pth asks to call ${shown.replaceAll('.', '\\.')},`);
    const argument = `(${text('touch /tmp/x')}t`;
    await refused(dict(`c${name}\n${argument}R`), pattern);
    await refused(dict(`c${name}\n${argument}\x81`), pattern);
    await refused(dict(`c${name}\n${argument}}\x92`), pattern);
    await refused(dict(`(${text('x')}i${name}\n`), pattern);
    await refused(dict(`(c${name}\n${text('x')}o`), pattern);
    const [module, attribute] = name.split('\n');
    await refused(dict(`${text(module)}${text(attribute)}\x93${argument}R`), pattern);
    // Through a call that PyTorch itself allows.
    await refused(dict(`ctorch._tensor\n_rebuild_from_type_v2\n(c${name}\nN${argument}NtR`), pattern);
    await refused(dict(`ccopyreg\n__newobj__\n(c${name}\n${text('x')}tR`), pattern);
  }
});

test('unknown classes become inert records', async () => {
  const state = `}${text('depth')}K\x03s`;
  const object = `cmy.module\nThing\n(${text('x')}K\x01t\x81${state}b`;
  const pickle = `\x80\x02}(${text('w')}${tensor([4], [1])}${text('o')}${object}${text('f')}cposix\nsystem\nu.`;
  const { extra } = await open(pickle);
  assert.deepEqual(extra.o, new InertObject('my.module.Thing', ['x', 1], { depth: 3 }));
  assert.deepEqual(extra.f, new InertObject('posix.system', [], null));
  assert.equal(JSON.stringify(extra.o), '{"class":"my.module.Thing","args":["x",1],"state":{"depth":3}}');
});

test('keys such as __proto__ stay data', async () => {
  const inner = `}${text('__proto__')}}${text('polluted')}K\x01ss`;
  const { extra } = await open(`\x80\x02}(${text('w')}${tensor([4], [1])}${text('__proto__')}${inner}u.`);
  assert.deepEqual(Object.keys(extra), ['__proto__']);
  assert.equal(({} as Record<string, unknown>).polluted, undefined);
});

test('views are checked against their storage', async () => {
  await refused(dict(tensor([5], [1])), /tensor w \[5\] reaches beyond its storage/);
  await refused(dict(tensor([4], [1], 1)), /reaches beyond its storage/);
  await refused(dict(tensor([2, 2], [3, 1])), /reaches beyond its storage/);
  await refused(dict(tensor([2], [9007199254740991])), /reaches beyond its storage/);
  await refused(dict(tensor([4], [-1])), /a size is not valid/);
  await refused(dict(tensor([-4], [1])), /a size is not valid/);
  await refused(dict(tensor([4], [1], -1)), /a size is not valid/);
  await refused(dict(tensor([4, 1], [1])), /another rank/);
  await refused(dict(tensor([2 ** 30, 2 ** 30], [0, 0])), /no valid shape/);
  await refused(dict(tensor([2 ** 30], [0])), /is larger than the file/);
  await refused(
    dict(tensor([4], [1], 0, storage('torch\nFloatStorage', 5))),
    /needs 20 bytes of storage 0, which has 16/,
  );
  await refused(dict(tensor([4], [1], 0, storage('torch\nNoStorage'))), /unknown type torch\.NoStorage/);
  await refused(dict(tensor([4], [1], 0, 'N')), /a tensor has no storage/);
  await refused(
    dict(tensor([4], [1]).replace('X\x01\x00\x00\x000', 'X\x01\x00\x00\x009')),
    /storage 9, which the file does not have/,
  );
  await refused(dict(tensor(Array(65).fill(1), Array(65).fill(1))), /no valid shape/);
});

test('repeating, strided and big-endian views are read', async () => {
  const expanded = (await open(dict(tensor([3, 2], [0, 2], 1)))).tensors.get('w')!;
  const values = await valuesOf(expanded);
  assert.deepEqual(
    Array.from(values.bytes),
    [4, 5, 6, 7, 12, 13, 14, 15].concat([4, 5, 6, 7, 12, 13, 14, 15], [4, 5, 6, 7, 12, 13, 14, 15]),
  );
  const big = (await open(dict(tensor([2], [2])), 16, 'big')).tensors.get('w')!;
  assert.deepEqual(Array.from((await valuesOf(big)).bytes), [3, 2, 1, 0, 11, 10, 9, 8]);
});

test('a long strided tensor is streamed in whole elements', async () => {
  const rows = 1500;
  const count = rows * rows;
  const pickle = dict(tensor([rows, rows], [1, rows], 0, storage('torch\nFloatStorage', count)));
  const entry = (await open(pickle, count * 4)).tensors.get('w')!;
  const { bytes } = await valuesOf(entry);
  assert.equal(bytes.length, 9_000_000);
  for (let i = 0; i < 2000; i++) {
    const at = (i * 7919) % count;
    const from = ((at % rows) * rows + Math.floor(at / rows)) * 4;
    for (let b = 0; b < 4; b++) assert.equal(bytes[at * 4 + b], (from + b) & 0xff);
  }
});

test('pickles that would fill memory or never end are refused', async () => {
  await refused(`\x80\x02${'}'.repeat(2_000_000)}.`, /makes too many objects/);
  // Ten lists, each with ten times the one before: 10^10 items in print, a hundred in memory.
  let laughs = '\x80\x02]q\x000';
  for (let i = 0; i < 10; i++) laughs += `](${`h${String.fromCharCode(i)}`.repeat(10)}eq${String.fromCharCode(i + 1)}0`;
  await refused(`${laughs}}(${text('w')}${tensor([4], [1])}${text('x')}h\x0au.`, /too much data beside its tensors/);
  await refused(dict(`${']'.repeat(5000)}${'a'.repeat(4999)}`), /no tensors/);
  const nested = `${text('deep')}${']'.repeat(5000)}${'a'.repeat(4999)}`;
  await refused(`\x80\x02}(${text('w')}${tensor([4], [1])}${nested}u.`, /deeper than 200 levels/);
  const wrap = 'ctorch._tensor\n_rebuild_from_type_v2\n';
  const chain = `(${`${wrap}N(`.repeat(3000)}${'tNt'.repeat(3000)}`;
  await refused(dict(`${wrap}${chain}tR`), /damaged pickle/);
  // One long list named again and again by calls that would copy it.
  const pairs = `](${'))'.repeat(50000)}eq\x010`;
  const calls = `ccollections\nOrderedDict\nq\x020](${'h\x02h\x01\x85R'.repeat(2000)}e`;
  await refused(`\x80\x02${pairs}${calls}.`, /makes too many objects/);
});

test('a list that contains itself is told as a cycle', async () => {
  const { extra } = await open(`\x80\x02}(${text('w')}${tensor([4], [1])}${text('loop')}]q\x01h\x01au.`);
  assert.deepEqual(extra.loop, ['<cycle>']);
});

test('malformed pickles are refused', async () => {
  for (const [pickle, why] of [
    ['.', 'its stack is empty'],
    ['(.', 'a mark is misplaced'],
    ['N0N', 'truncated inside its pickle'],
    ['\x80\x09N.', 'protocol is newer'],
    ['h\x05.', 'refers to nothing'],
    ['Nu.', 'a mark is missing'],
    ['N(NNu.', 'sets items of something that is not a dict'],
    ['}(Nu.', 'a key has no value'],
    ['NNa.', 'appends to something'],
    ['K\x01)R.', 'calls something that is not a class'],
    ['cx\ny\nNR.', 'arguments of a call'],
    ['\x8a\xff', 'truncated inside'],
    [`\x8b${u32(1000)}${'1'.repeat(1000)}.`, 'an integer is too long'],
    ['Iabc\n.', 'an integer is not one'],
    ['\xff.', 'unknown opcode 0xff'],
    [`\x8d${'\xff'.repeat(8)}.`, 'a length is out of range'],
    ['N.', 'no state dict'],
  ]) {
    await refused(pickle, new RegExp(why));
  }
});

/** A zip of deflated entries, as an archiver would repack a checkpoint. */
function deflated(files: [string, Uint8Array, number?][]): Uint8Array {
  const parts: Buffer[] = [];
  const central: Buffer[] = [];
  let at = 0;
  for (const [name, content, declared] of files) {
    const packed = deflateRawSync(content);
    const header = Buffer.alloc(30);
    header.writeUInt32LE(0x04034b50, 0);
    header.writeUInt16LE(name.length, 26);
    const record = Buffer.alloc(46);
    record.writeUInt32LE(0x02014b50, 0);
    record.writeUInt16LE(8, 10);
    record.writeUInt32LE(packed.length, 20);
    record.writeUInt32LE(declared ?? content.length, 24);
    record.writeUInt16LE(name.length, 28);
    record.writeUInt32LE(at, 42);
    parts.push(header, Buffer.from(name), packed);
    central.push(record, Buffer.from(name));
    at += 30 + name.length + packed.length;
  }
  const directory = Buffer.concat(central);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(files.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(at, 16);
  return Buffer.concat([...parts, directory, end]);
}

test('deflated entries are read, within bounds', async () => {
  const pickle = Buffer.from(dict(tensor([4], [1])), 'latin1');
  const values = Uint8Array.from({ length: 16 }, (_, i) => i * 3);
  const good = await openCheckpoint(
    deflated([
      ['a/data.pkl', pickle],
      ['a/data/0', values],
    ]),
  );
  assert.deepEqual((await valuesOf(good.tensors.get('w')!)).bytes, values);
  const open = (file: [string, Uint8Array, number?]) => openCheckpoint(deflated([file]), 'x.pth');
  await assert.rejects(open(['a/data.pkl', pickle, 2_000_000_000]), inputError(/packs 2000000000 bytes/));
  await assert.rejects(open(['a/data.pkl', pickle, pickle.length + 1]), inputError(/cannot be unpacked/));
  await assert.rejects(open(['a/data.pkl', pickle, pickle.length - 1]), inputError(/cannot be unpacked/));
  await assert.rejects(open(['word/document.xml', pickle]), inputError(/not a PyTorch checkpoint/));
  const bomb = deflated([
    ['a/data.pkl', pickle],
    ['a/data/0', new Uint8Array(1 << 20)],
  ]);
  await assert.rejects(openCheckpoint(bomb, 'x.pth'), inputError(/needs 16 bytes of storage 0, which has 1048576/));
});

test('safetensors headers are checked', async () => {
  const open = (header: unknown, bytes = 4) => {
    const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(json.length));
    return openCheckpoint(Buffer.concat([size, json, Buffer.alloc(bytes)]), 'x.safetensors');
  };
  const tensor = { dtype: 'F32', shape: [1], data_offsets: [0, 4] };
  assert.equal((await open({ a: tensor })).tensors.size, 1);
  for (const [header, why] of [
    ['{"a":', /not JSON/],
    ['{"a"]', /not JSON/],
    [{ a: 3 }, /not described by an object/],
    [{ a: { ...tensor, dtype: 'F33' } }, /unknown dtype F33/],
    [{ a: { ...tensor, dtype: 'toString' } }, /unknown dtype toString/],
    [{ a: { ...tensor, shape: [-1] } }, /no valid shape/],
    [{ a: { ...tensor, shape: [2 ** 30, 2 ** 30] } }, /no valid shape/],
    [{ a: { ...tensor, shape: [2] } }, /takes 4 bytes, expected 8/],
    [{ a: { ...tensor, data_offsets: [4, 0] } }, /takes -4 bytes/],
    [{ a: { ...tensor, data_offsets: [0] } }, /no valid data_offsets/],
    [{ a: { ...tensor, data_offsets: [8, 12] } }, /truncated/],
    [{ a: tensor, b: tensor }, /tensor b starts at 0, expected 4/],
    [{ __metadata__: { k: 3 }, a: tensor }, /__metadata__ k is not a text/],
    [{ __metadata__: 3 }, /not a table/],
    [{}, /end at byte 10 and the file has 14/],
  ] as const) {
    await assert.rejects(open(header), inputError(why));
  }
  await assert.rejects(
    openCheckpoint(Buffer.from('\xff\xff\xff\xff\xff\xff\x00\x00{"a"', 'latin1')),
    inputError(/header would take/),
  );
  await assert.rejects(
    openCheckpoint(Buffer.from('\xff\x00\x00\x00\x00\x00\x00\x00{"a"', 'latin1')),
    inputError(/header takes 255/),
  );
});

/** Opens and reads all; whatever the bytes are, only an InputError may come out. */
async function survives(bytes: Uint8Array): Promise<boolean> {
  try {
    const checkpoint = await openCheckpoint(bytes, 'fuzzed');
    for (const entry of checkpoint.tensors.values()) {
      assert.equal((await entry.read()).length, entry.byteLength);
    }
    return true;
  } catch (error) {
    assert.ok(error instanceof InputError, `expected an InputError, got ${(error as Error).stack}`);
    return false;
  }
}

for (const name of ['zip.pth', 'legacy.pth', 'training.pth', 'expected.safetensors']) {
  test(`${name} cut at any byte is refused`, async () => {
    const bytes = new Uint8Array(await readFile(fixture(`formats/${name}`)));
    for (let length = 0; length < bytes.length; length++) {
      assert.equal(await survives(bytes.subarray(0, length)), false, `cut at ${length}`);
    }
    assert.equal(await survives(bytes), true);
  });

  test(`${name} with flipped bytes is refused or read, never worse`, async () => {
    const bytes = new Uint8Array(await readFile(fixture(`formats/${name}`)));
    for (let at = 0; at < bytes.length; at++) {
      const damaged = bytes.slice();
      damaged[at] ^= 1 << (at % 8);
      await survives(damaged);
    }
    const flips = fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 });
    await fc.assert(
      fc.asyncProperty(flips, async (changes) => {
        const damaged = bytes.slice();
        for (const [at, value] of changes) damaged[at] = value;
        await survives(damaged);
      }),
      { numRuns: 500 },
    );
  });
}

test('any bytes as a pickle end in an InputError or data', async () => {
  const opcodes = '().}]N\x88\x89KMIXGcRbsuaet\x85\x86\x87qh\x94Q\x81\x93012';
  const soup = fc.array(
    fc.oneof(
      { weight: 4, arbitrary: fc.constantFrom(...opcodes) },
      fc.constantFrom(
        text('w'),
        storage(),
        tensor([4], [1]),
        'ccollections\nOrderedDict\n',
        'cnumpy\ndtype\n',
        'K\x01',
      ),
      fc.integer({ min: 0, max: 255 }).map((byte) => String.fromCharCode(byte)),
    ),
    { maxLength: 60 },
  );
  await fc.assert(
    fc.asyncProperty(soup, async (parts) => {
      await survives(await zipWith(`\x80\x02${parts.join('')}.`));
    }),
    { numRuns: 3000 },
  );
});

/** A legacy checkpoint around a pickle written by hand, with one storage. */
function legacyWith(pickle: string, values: Uint8Array, count = values.length / 4): Uint8Array {
  const start = '\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}.';
  const keys = `\x80\x02]${text('0')}a.`;
  const counted = Buffer.alloc(8);
  counted.writeBigUInt64LE(BigInt(count));
  return Buffer.concat([Buffer.from(start + pickle + keys, 'latin1'), counted, values]);
}

test('legacy storages may be views of others, and pickles long', async () => {
  const values = Uint8Array.from({ length: 32 }, (_, i) => i);
  const view = (shift: number, count: number) =>
    `(${text('storage')}ctorch\nFloatStorage\n${text('0')}${text('cpu')}${int(8)}(${text('1')}${int(shift)}${int(count)}ttQ`;
  const read = async (pickle: string) => (await openCheckpoint(legacyWith(pickle, values))).tensors.get('w')!;
  const entry = await read(dict(tensor([2], [2], 1, view(3, 4))));
  assert.deepEqual(Array.from((await valuesOf(entry)).bytes), [16, 17, 18, 19, 24, 25, 26, 27]);
  await assert.rejects(read(dict(tensor([2], [2], 2, view(3, 4)))), inputError(/reaches beyond its storage/));
  await assert.rejects(read(dict(tensor([1], [1], 0, view(5, 4)))), inputError(/needs 16 bytes of storage 0/));

  const names = Array.from({ length: 60_000 }, (_, i) => text(`name ${i}`)).join('');
  const long = await openCheckpoint(
    legacyWith(
      `\x80\x02}(${text('w')}${tensor([8], [1], 0, storage('torch\nFloatStorage', 8))}${text('n')}](${names}eu.`,
      values,
    ),
  );
  assert.equal((long.extra.n as string[]).length, 60_000);
  assert.deepEqual((await valuesOf(long.tensors.get('w')!)).bytes, values);
});

test('legacy storages are checked against the file', async () => {
  const pickle = dict(tensor([8], [1], 0, storage('torch\nFloatStorage', 8)));
  const values = new Uint8Array(32);
  const open = (bytes: Uint8Array) => openCheckpoint(bytes, 'old.pth');
  await assert.rejects(open(legacyWith(pickle, values, 9)), inputError(/truncated: storage 0 ends at byte/));
  await assert.rejects(open(legacyWith(pickle, values, 2 ** 53)), inputError(/truncated/));
  await assert.rejects(open(legacyWith(pickle, values, 7)), inputError(/needs 32 bytes of storage 0, which has 28/));
  await assert.rejects(open(legacyWith(dict('N'), values)), inputError(/no tensor uses its storage 0/));
  await assert.rejects(
    open(Buffer.from('\x80\x02K\x01.', 'latin1')),
    inputError(/not a checkpoint that torch\.save wrote/),
  );
});

test('TorchScript modules that are no tree are refused, and nothing of torch.jit is called but what makes lists', async () => {
  const module = (state: string): string => `c__torch__.net\nNet\n)\x81}(${state}ub`;
  const checkpoint = await open(`\x80\x02${module(`${text('w')}${tensor([4], [1])}${text('n')}K\x03`)}.`);
  assert.deepEqual([...checkpoint.tensors.keys()], ['w']);
  const listed = `${text('l')}ctorch.jit._pickle\nbuild_intlist\n(](K\x01K\x02etR`;
  const nested = await open(`\x80\x02${module(`${listed}${text('a')}${module(`${text('w')}${tensor([4], [1])}`)}`)}.`);
  assert.deepEqual([...nested.tensors.keys()], ['a.w']);
  // A module that is its own child, and a chain of pairs with 2^30 paths.
  await refused(`\x80\x02c__torch__.net\nNet\n)\x81q\x00}(${text('a')}h\x00ub.`, /its modules are no tree/);
  let pair = module(`${text('w')}${tensor([4], [1])}`);
  for (let i = 0; i < 30; i++)
    pair = `${pair}q${String.fromCharCode(i)}0${module(`${text('a')}h${String.fromCharCode(i)}${text('b')}h${String.fromCharCode(i)}`)}`;
  await refused(`\x80\x02${pair}.`, /its modules are no tree/);
  await refused(dict(`ctorch.jit\nload\n(${text('x')}tR`), /asks to call torch\.jit\.load/);
  await refused(dict(`ctorch.jit._pickle\nbuild_tensor_from_id\n(${text('x')}tR`), /asks to call torch\.jit\._pickle/);
});
