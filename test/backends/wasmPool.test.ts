/** The pool of workers: every chunk once, traps, disposal while work goes on. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { i32 } from '../../backends/wasm/assembler/index.js';
import { Heap } from '../../backends/wasm/memory/heap.js';
import { Runtime } from '../../backends/wasm/runtime.js';
import { element } from '../../backends/wasm/vectors.js';
import { READY } from '../../backends/wasm/workers/control.js';
import { Pool } from '../../backends/wasm/workers/pool.js';

const FIELDS = { y: 'i32', size: 'i32', trap: 'i32' } as const;

/** Adds 1 to element `chunk`; a division by zero where the chunk number is `trap` or more. */
const counter = (rt: Runtime, name: string) =>
  rt.kernel(name, FIELDS, () => (f, a, chunk) => {
    f.if(i32.ge(chunk, a.trap), () => f.storeI32(a.y, i32.divU(1, i32.sub(chunk, chunk))));
    const p = f.let(element(a.y, chunk));
    f.storeI32(p, i32.add(i32.load(p), 1));
  });

async function withPool(threads: number, use: (rt: Runtime, pool: Pool) => void | Promise<void>): Promise<void> {
  const heap = new Heap(true);
  const pool = await Pool.start(heap, threads);
  while (heap.i32[READY] < threads - 1) await new Promise((resolve) => setTimeout(resolve, 5));
  try {
    await use(new Runtime(heap, pool), pool);
  } finally {
    await pool.dispose();
  }
}

/** Runs `chunks` chunks and checks that each was done once. */
function runAll(rt: Runtime, name: string, chunks: number): void {
  rt.temporary(4 * chunks, (y) => {
    const counts = () => rt.heap.i32.subarray(y / 4, y / 4 + chunks);
    counts().fill(0);
    counter(rt, name)({ y, size: chunks, trap: chunks }, chunks);
    assert.ok(counts().every((n) => n === 1));
  });
}

test('every chunk is done once: short jobs, new kernels, memory that grows, workers asleep and awake', async () => {
  await withPool(4, async (rt) => {
    const held = [];
    for (let job = 0; job < 2000; job++) {
      if (job % 40 === 0) held.push(rt.heap.alloc(300_000));
      if (job % 100 === 0) await new Promise((resolve) => setTimeout(resolve, job % 3));
      runAll(rt, `count${Math.floor(job / 20)}`, 1 + ((job * 7) % 23));
    }
    for (const block of held) rt.heap.free(block);
  });
});

test('a trap throws, on whichever thread, and the next job is unharmed', async () => {
  await withPool(2, (rt) => {
    for (let job = 0; job < 300; job++) {
      const chunks = 2 + (job % 200);
      rt.temporary(4 * chunks, (y) => {
        assert.throws(
          () => counter(rt, 'count')({ y, size: chunks, trap: 0 }, chunks),
          /divide by zero|failed in a worker/,
        );
        assert.throws(() => counter(rt, 'count')({ y, size: chunks, trap: chunks - 1 }, chunks), Error);
      });
      runAll(rt, 'count', chunks);
    }
  });
});

test('jobs that run while the pool is disposed are done without workers', async () => {
  for (let round = 0; round < 5; round++) {
    await withPool(3, async (rt, pool) => {
      runAll(rt, 'count', 50);
      const ended = pool.dispose();
      for (let job = 0; job < 50; job++) {
        runAll(rt, 'count', 20);
        if (job % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 0));
      }
      await Promise.all([ended, pool.dispose()]);
    });
  }
});
