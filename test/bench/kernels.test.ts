import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { disposeBackend, loadBackend } from '../../backends/index.js';
import { bytesMoved, CASES, scaled } from '../../bench/kernels/cases.js';
import { check } from '../../bench/kernels/check.js';
import { Problem } from '../../bench/kernels/problem.js';
import type { Report } from '../../bench/kernels/run.js';
import { withoutLeak } from '../support/backends.js';

const program = fileURLToPath(new URL('../../bench/kernels/main.js', import.meta.url));
const run = (...args: string[]) => spawnSync(process.execPath, [program, ...args], { encoding: 'utf8' });
const caseNamed = (name: string) => CASES.find((c) => c.name === name) ?? assert.fail(name);

for (const device of ['wasm', 'reference']) {
  test(`one kernel is checked, timed, printed and written as JSON (${device})`, () => {
    const folder = mkdtempSync(join(tmpdir(), 'azulejo-bench-'));
    try {
      const json = join(folder, 'figures.json');
      const { stdout, stderr, status } = run(
        '--quick',
        '--device',
        device,
        '--only',
        'out',
        '--threads',
        '1',
        '--json',
        json,
      );
      assert.equal(status, 0, stdout + stderr);
      assert.match(stdout, /ceilings measured now.*float32 [\d.]+ GFLOP\/s, copy [\d.]+ GB\/s/);
      assert.match(
        stdout,
        /^out +f32 +R\d+ K\d+ N\d+ +[\d.]+ +[\d.]+ +[\d.]+% +[\d.]+ +[\d.]+% +[\d.]+ +\d\.\de[-+]\d+$/m,
      );
      const report = JSON.parse(readFileSync(json, 'utf8')) as Report;
      assert.deepEqual(
        report.devices.map((d) => [d.name, d.skipped]),
        [[device, undefined]],
      );
      const [row] = report.rows;
      assert.equal(report.rows.length, 1);
      assert.equal(row.name, 'out');
      assert.ok((row.seconds ?? 0) > 0 && (row.samples ?? 0) >= 3);
      const { R, K, N } = row.sizes;
      const gflops = (2 * R * K * N) / (row.seconds ?? 0) / 1e9;
      assert.ok(Math.abs((row.gflops ?? 0) / gflops - 1) < 1e-9);
      assert.ok((row.ofArithmetic ?? 0) > 1 && (row.overReference ?? 0) > 0.1, JSON.stringify(row));
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
}

test('a wrong result is seen: the first operand differs by a thousandth', async () => {
  const [wasm, oracle] = [await loadBackend('wasm', { threads: 1 }), await loadBackend('reference')];
  try {
    for (const name of ['qkv', 'attention 901+64', 'sub-LN 768 backward', 'AdamW', 'word cross entropy backward']) {
      const of = caseNamed(name);
      const sizes = scaled(of, 1e-6);
      await withoutLeak(wasm, async () => {
        const right = Problem.create(of, sizes, 'float32', wasm);
        const wrong = Problem.create(of, sizes, 'float32', wasm);
        try {
          assert.equal((await check(of, sizes, 'float32', right, oracle)).holds, true, name);
          wrong.spoil();
          const { error, holds } = await check(of, sizes, 'float32', wrong, oracle);
          assert.equal(holds, false, `${name}: error ${error}`);
        } finally {
          right.dispose();
          wrong.dispose();
        }
      });
    }
  } finally {
    await disposeBackend('wasm');
    await disposeBackend('reference');
  }
});

test('half floats: the check rounds the operands as the device has them', async () => {
  // wasm stores them and computes in float32: all that is left is the rounding of the results.
  const [wasm, oracle] = [await loadBackend('wasm', { threads: 1 }), await loadBackend('reference')];
  try {
    for (const name of ['fc1+GELU', 'attention 577', 'attention 197 backward', 'sub-LN 3072', 'word cross entropy']) {
      const of = caseNamed(name);
      const sizes = scaled(of, 1e-6);
      const problem = Problem.create(of, sizes, 'float16', wasm);
      const { error, holds } = await check(of, sizes, 'float16', problem, oracle);
      problem.dispose();
      assert.ok(holds && error < 1e-3, `${name}: error ${error}`);
    }
  } finally {
    await disposeBackend('wasm');
    await disposeBackend('reference');
  }
});

test('a smaller scale shrinks the batch first, then the rest, down to a least size', () => {
  const qkv = caseNamed('qkv');
  assert.deepEqual(scaled(qkv, 1), { R: 6304, K: 768, N: 2304 });
  assert.deepEqual(scaled(qkv, 0.25), { R: 1568, K: 768, N: 2304 });
  assert.deepEqual(scaled(qkv, 1e-9), { R: 16, K: 64, N: 64 });
  const { Q, K, B, H } = scaled(caseNamed('attention 577'), 1 / 8 / 12);
  assert.deepEqual([B, H, Q, K], [1, 1, 577, 577]);
  const { M, N, K: inner } = scaled(caseNamed('matmul 4096'), 1 / 64);
  assert.deepEqual([M, N, inner], [1024, 1024, 1024]);
});

test('bytes count each operand and result once, in the dtype that it has', () => {
  assert.equal(bytesMoved(caseNamed('matmul 4096'), { M: 2, K: 3, N: 5 }, 'float32'), 4 * (6 + 15 + 10));
  assert.equal(bytesMoved(caseNamed('matmul 4096'), { M: 2, K: 3, N: 5 }, 'float16'), 2 * (6 + 15 + 10));
  // Parameters, gradients and both moments are read; all but the gradients are written; and one norm.
  assert.equal(bytesMoved(caseNamed('AdamW'), { T: 2, E: 10 }, 'float32'), 4 * (7 * 20 + 1));
});

test('what is asked for wrongly is told in one sentence', () => {
  for (const [args, message] of [
    [['--only', 'nothing'], /^There is no kernel nothing; expected some of matmul 4096, qkv.*\n$/],
    [['--device', 'tpu'], /^There is no device tpu; expected one of .*wasm.*\n$/],
    [['--scale', '7'], /^--scale must be a number from .* got "7".\n$/],
    [['--fast'], /--fast.*--help lists the flags.*\n$/],
  ] as const) {
    const { stderr, status } = run(...args);
    assert.equal(status, 2);
    assert.match(stderr, message);
  }
  const help = run('--help');
  assert.equal(help.status, 0);
  assert.match(help.stdout, /--json FILE/);
});
