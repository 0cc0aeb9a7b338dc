import assert from 'node:assert/strict';
import { test } from 'node:test';
import { f32, f32x4, f64, i32, i64, type Local, ModuleBuilder, v128 } from '../../backends/wasm/assembler/index.js';
import { signed, unsigned } from '../../backends/wasm/assembler/values.js';

/** The exported functions of a module with one page of memory. */
function assemble(build: (m: ModuleBuilder) => void, shared = false) {
  const m = new ModuleBuilder();
  build(m);
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 2, shared });
  const module = new WebAssembly.Module(m.encode({ shared, maximumPages: 2 }) as Uint8Array<ArrayBuffer>);
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  return { run: exports.run as (...args: number[]) => number, memory };
}

test('LEB128 of small, large and negative numbers', () => {
  assert.deepEqual(unsigned(0), [0]);
  assert.deepEqual(unsigned(624485), [0xe5, 0x8e, 0x26]);
  assert.deepEqual(unsigned(2 ** 32 - 1), [0xff, 0xff, 0xff, 0xff, 0x0f]);
  assert.deepEqual(signed(-1), [0x7f]);
  assert.deepEqual(signed(64), [0xc0, 0]);
  assert.deepEqual(signed(-123456), [0xc0, 0xbb, 0x78]);
});

test('constants survive, of every type and sign', () => {
  for (const x of [0, 1, -1, 63, 64, -64, -65, 127, 128, 2 ** 31 - 1, -(2 ** 31), 0x9e3779b9]) {
    const { run } = assemble((m) =>
      m.export(
        'run',
        m.func([], 'i32', (f) => f.emit(i32.const(x).code)),
      ),
    );
    assert.equal(run(), x | 0);
  }
  for (const x of [0, 1.5, -1e-45, 3.4e38, Infinity]) {
    const { run } = assemble((m) =>
      m.export(
        'run',
        m.func([], 'f32', (f) => f.emit(f32.const(x).code)),
      ),
    );
    assert.equal(run(), Math.fround(x));
  }
  const { run } = assemble((m) =>
    m.export(
      'run',
      m.func([], 'f64', (f) => f.emit(f64.sqrt(f64.const(2)).code)),
    ),
  );
  assert.equal(run(), Math.SQRT2);
});

test('loops run as often as they should, and not at all for empty ranges', () => {
  const { run } = assemble((m) => {
    const square = m.func(['i32'], 'i32', (f) => {
      const [x] = f.params as Local<'i32'>[];
      f.emit(i32.mul(x, x).code);
    });
    m.export(
      'run',
      m.func(['i32', 'i32'], 'i32', (f) => {
        const [from, to] = f.params as Local<'i32'>[];
        const sum = f.int(0);
        f.for(from, to, 2, (i) => f.bump(sum, f.callValue('i32', square, i)));
        f.repeat(to, () => f.bump(sum, 1000));
        f.if(
          i32.gt(sum, 5000),
          () => f.bump(sum, -1),
          () => f.bump(sum, 1),
        );
        f.emit(sum.code);
      }),
    );
  });
  assert.equal(run(1, 6), 1 + 9 + 25 + 6000 - 1);
  assert.equal(run(3, 3), 3000 + 1);
  assert.equal(run(2, -5), 1);
});

test('blocks are left and loops repeated from the right depth', () => {
  const { run } = assemble((m) =>
    m.export(
      'run',
      m.func(['i32'], 'i32', (f) => {
        const n = f.params[0] as Local<'i32'>;
        const steps = f.int(0);
        f.block((leave) => {
          f.loop((again) => {
            f.bump(steps, 1);
            f.if(i32.eq(n, 1), () => f.br(leave));
            f.if(
              i32.and(n, 1),
              () => f.setInt(n, i32.add(i32.mul(n, 3), 1)),
              () => f.setInt(n, i32.shrU(n, 1)),
            );
            f.br(again);
          });
        });
        f.emit(steps.code);
      }),
    ),
  );
  assert.equal(run(6), 9);
  assert.equal(run(1), 1);
});

test('vectors: loads, arithmetic, lanes, stores', () => {
  const { run, memory } = assemble((m) =>
    m.export(
      'run',
      m.func(['i32'], 'f32', (f) => {
        const at = f.params[0] as Local<'i32'>;
        const x = f.let(f32x4.mul(v128.load(at, 16), f32x4.splat(2)));
        f.storeV128(at, f32x4.add(x, v128.load32Splat(at, 20)));
        f.storeLane(4, at, x, 3, 32);
        f.emit(f32.lane(x, 2).code);
      }),
    ),
  );
  const floats = new Float32Array(memory.buffer);
  floats.set([1, 2, 3, 4], 8);
  assert.equal(run(16), 6);
  assert.deepEqual([...floats.slice(4, 8)], [4, 6, 8, 10]);
  assert.equal(floats[12], 8);
});

test('64-bit products, and atomics on shared memory', () => {
  const { run, memory } = assemble((m) => {
    m.export(
      'run',
      m.func(['i32', 'i32'], 'i32', (f) => {
        const [a, b] = f.params as Local<'i32'>[];
        const high = i64.shrU(i64.mul(i64.extendU(a), i64.extendU(b)), i64.const(32n));
        const before = f.let(i32.atomicAdd(64, i32.wrap(high)));
        f.emit(i32.add(before, i32.atomicLoad(64)).code);
      }),
    );
  }, true);
  assert.equal(run(-1, -1), -2);
  assert.equal(new Int32Array(memory.buffer)[16], -2);
  assert.equal(run(1 << 16, 1 << 17), -2 + 0);
});
