/** The pool of workers: every chunk once, traps, disposal while work goes on. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { i32 } from '../../backends/wasm/assembler/index.js';
import { Heap } from '../../backends/wasm/memory/heap.js';
import { Runtime } from '../../backends/wasm/runtime.js';
import { element } from '../../backends/wasm/vectors.js';
import { NEXT_CHUNK, READY, SCRATCH } from '../../backends/wasm/workers/control.js';
import { Pool } from '../../backends/wasm/workers/pool.js';
import type { Backend } from '../../core/backend.js';
import { E } from '../../core/expr.js';

const FIELDS = { y: 'i32', size: 'i32', trap: 'i32' } as const;

/** Adds 1 to element `chunk`; a division by zero where the chunk number is `trap` or more. */
const counter = (rt: Runtime, name: string) =>
  rt.kernel(name, FIELDS, () => (f, a, chunk) => {
    f.if(i32.ge(chunk, a.trap), () => f.storeI32(a.y, i32.divU(1, i32.sub(chunk, chunk))));
    const p = f.let(element(a.y, chunk));
    f.storeI32(p, i32.add(i32.load(p), 1));
  });

async function withPool(
  threads: number,
  use: (rt: Runtime, pool: Pool) => void | Promise<void>,
  patience?: number,
): Promise<void> {
  const heap = new Heap(true);
  const pool = await Pool.start(heap, threads, patience);
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

test('a worker that never comes back ends the job with an error, and the next jobs are done without it', async () => {
  const stuck = (rt: Runtime) =>
    rt.kernel('stuck', FIELDS, () => (f, _args, _chunk, scratch) => {
      // The owner, whose scratch memory is the first, waits until the worker has taken the other chunk.
      const taken = i32.ge(i32.load(f.int(4 * NEXT_CHUNK)), 2);
      f.if(
        i32.eq(scratch, rt.heap.i32[SCRATCH]),
        () => f.block((leave) => f.repeat(2_000_000_000, () => f.brIf(leave, taken))),
        () => f.loop((again) => f.br(again)),
      );
    });
  await withPool(
    2,
    (rt) => {
      rt.temporary(64, (y) => {
        // The first launch gives threads their scratch memory.
        rt.kernel('scratch', FIELDS, () => () => {})({ y, size: 0, trap: 0 }, 2, { scratch: 64 });
        const launch = stuck(rt);
        assert.throws(() => launch({ y, size: 0, trap: 0 }, 2, { scratch: 64 }), /has ended within a job/);
      });
      for (let job = 0; job < 20; job++) runAll(rt, 'count', 20);
    },
    0.2,
  );
});

test('a worker whose file is missing is warned of, and jobs are done without it', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'azulejo-pool-'));
  // Nothing else keeps the process waiting for the thread.
  const alive = setInterval(() => {}, 1000);
  try {
    const dist = new URL('../../', import.meta.url);
    for (const room of ['backends', 'core']) {
      await cp(new URL(room, dist), join(folder, room), { recursive: true });
    }
    await writeFile(join(folder, 'package.json'), '{"type":"module"}');
    await rm(join(folder, 'backends/wasm/workers/worker.js'));
    const warned = once(process, 'warning');
    const { createBackend } = await import(pathToFileURL(join(folder, 'backends/wasm/index.js')).href);
    const backend: Backend = await createBackend({ threads: 2 });
    const [warning] = await warned;
    assert.match(warning.message, /A thread of the wasm backend has failed, computing will be slower: .*worker\.js/);
    const shape = [100_000];
    const y = { block: backend.alloc(400_000), dtype: 'float32', shape, strides: [1], offset: 0 } as const;
    backend.kernels.get('fill')?.plan([], { value: 2 }, [{ shape, dtype: 'float32' }])?.([y]);
    const expr = E.add(E.input(0), E.input(0));
    backend.compile('double', expr)?.plan([y], {}, [{ shape, dtype: 'float32' }])?.([y]);
    assert.ok(backend.host?.load(y).every((x) => x === 4));
    await backend.dispose();
  } finally {
    clearInterval(alive);
    await rm(folder, { recursive: true });
  }
});
