/** Micro measurements of the wasm kernels: GFLOP/s of products and of attention. `node dist/bench/kernels.js [threads...]` */
import { createBackend } from '../backends/wasm/index.js';
import type { Backend, Spec, View } from '../core/backend.js';
import { contiguousStrides, sizeOf } from '../core/layout.js';

function array(b: Backend, shape: readonly number[], scale = 0): View {
  const n = sizeOf(shape);
  const view: View = { block: b.alloc(4 * n), dtype: 'float32', shape, strides: contiguousStrides(shape), offset: 0 };
  const values = b.host?.array(view.block, 'float32', 0, n) as Float32Array;
  for (let i = 0; i < n; i++) values[i] = scale * Math.sin(i * 12.9898 + 1);
  return view;
}

/** Lower quartile of the time of a call in milliseconds, over about half a second. */
function measure(run: () => void): number {
  for (let i = 0; i < 3; i++) run();
  const times: number[] = [];
  const end = performance.now() + 500;
  while (performance.now() < end || times.length < 5) {
    const start = performance.now();
    run();
    times.push(performance.now() - start);
  }
  return times.sort((x, y) => x - y)[times.length >> 2];
}

function bench(
  b: Backend,
  what: string,
  name: string,
  inputs: (View | null)[],
  attrs: object,
  outputs: Spec[],
  flops: number,
): void {
  const kernel = b.kernels.get(name);
  if (!kernel) return;
  const results = outputs.map((o) => array(b, o.shape));
  const ms = measure(() => kernel.plan(inputs, attrs, outputs)?.(results));
  console.log(
    `${what.padEnd(36)} ${ms.toFixed(3).padStart(9)} ms ${(flops / ms / 1e6).toFixed(1).padStart(7)} GFLOP/s`,
  );
  for (const v of [...results, ...inputs]) if (v) b.free(v.block);
}

const f32 = (...shape: number[]): Spec => ({ dtype: 'float32', shape });

const counts = process.argv.slice(2).map(Number);
for (const threads of counts.length > 0 ? counts : [1, 2]) {
  const b = await createBackend({ threads });
  await new Promise((resolve) => setTimeout(resolve, 200));
  console.log(`${threads} thread${threads > 1 ? 's' : ''}`);
  for (const [m, k, n] of [
    [197, 768, 768],
    [197, 768, 3072],
    [197, 3072, 768],
    [1, 768, 3072],
    [8, 768, 3072],
    [1576, 768, 3072],
  ]) {
    const operands = (): (View | null)[] => [array(b, [m, k], 1), array(b, [n, k], 0.05), array(b, [n], 1)];
    const plain = { activation: 'none', keep: false };
    bench(b, `linear ${m} x ${k} x ${n}`, 'linear', [...operands(), null], plain, [f32(m, n)], 2 * m * k * n);
    if (n === 3072) {
      const gelu = { activation: 'gelu', keep: false };
      bench(b, `linear ${m} x ${k} x ${n} gelu`, 'linear', [...operands(), null], gelu, [f32(m, n)], 2 * m * k * n);
    }
  }
  bench(
    b,
    'matmul 768^3',
    'matmul',
    [array(b, [768, 768], 1), array(b, [768, 768], 1)],
    {},
    [f32(768, 768)],
    2 * 768 ** 3,
  );
  for (const l of [197, 901]) {
    const qkv = (): View[] => [1, 2, 3].map(() => array(b, [1, l, 12, 64], 1));
    const attrs = { scale: 0.125, dropout: 0, seed: 0, counter: 0 };
    const outputs = [f32(1, l, 12, 64), f32(1, 12, l)];
    bench(
      b,
      `attention L ${l}, 12 heads of 64`,
      'attention',
      [...qkv(), null, null],
      attrs,
      outputs,
      4 * l * l * 64 * 12,
    );
  }
  await b.dispose();
}
