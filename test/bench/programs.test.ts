import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Report } from '../../bench/kernels/run.js';
import { packageRoot } from '../support/fixtures.js';

const program = (name: string) => fileURLToPath(new URL(`../../bench/${name}.js`, import.meta.url));
const noPython = { ...process.env, AZULEJO_PYTHON: join(tmpdir(), 'no-such-python') };
const run = (name: string, ...args: string[]) =>
  spawnSync(process.execPath, [program(name), ...args], { encoding: 'utf8', env: noPython });

function inFolder(body: (folder: string) => void): void {
  const folder = mkdtempSync(join(tmpdir(), 'azulejo-bench-'));
  try {
    body(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('bench:dispatch prints and writes what a dispatch costs', () =>
  inFolder((folder) => {
    const json = join(folder, 'dispatch.json');
    const { stdout, stderr, status } = run('dispatch', '--quick', '--device', 'wasm', '--json', json);
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout, /^wasm +100 x add +100 +[\d.]+ \([\d.]+\) +- +-$/m);
    const { rows } = JSON.parse(readFileSync(json, 'utf8')) as {
      rows: { name: string; launches: number; eager: { fastest: number; median: number } }[];
    };
    assert.equal(rows.length, 4);
    for (const { name, launches, eager } of rows) {
      assert.ok(launches >= 90 && launches < 1000, `${name}: ${launches}`);
      assert.ok(eager.fastest > 0.1 && eager.fastest <= eager.median, `${name}: ${JSON.stringify(eager)}`);
    }
  }));

test('each explains itself, and refuses in a sentence what it cannot do', () => {
  for (const name of ['kernels/main', 'dispatch', 'model', 'train', 'loader', 'stream']) {
    const help = run(name, '--help');
    assert.deepEqual([help.status, help.stderr], [0, '']);
    assert.match(help.stdout, /^npm run bench:\w+ -- \[FLAGS\]: .*\n\n {2}--/);
    const wrong = run(name, '--no-such-flag');
    assert.equal(wrong.status, 2);
    assert.match(wrong.stderr, /^Unknown option '--no-such-flag'.* \(--help lists the flags\)\n$/);
  }
  const { status, stderr } = run('dispatch', '--quick', '--json', join(tmpdir(), 'no-such-folder', 'x.json'));
  assert.equal(status, 2);
  assert.match(stderr, /^Cannot write .*x\.json: its folder does not exist\.\n$/);
});

test('a peer that is not installed is named with what installs it, and the rest goes on', () =>
  inFolder((folder) => {
    const { stdout, stderr, status } = run(
      'kernels/main',
      ...['--quick', '--device', 'wasm', '--threads', '1', '--only', 'out', '--against', '--peers', folder],
    );
    assert.equal(status, 0, stdout + stderr);
    assert.match(stdout, /^jax-js wasm: not installed: npm i @jax-js\/jax$/m);
    assert.match(stdout, /^tfjs wasm: not installed: npm i @tensorflow\/tfjs-core @tensorflow\/tfjs-backend-wasm$/m);
    assert.match(stdout, /^onnxruntime-web: not installed: npm i onnxruntime-web$/m);
    assert.match(stdout, /^pytorch cpu: not installed in python3 \(AZULEJO_PYTHON names another interpreter\)$/m);
    assert.match(stdout, /^out +f32 /m);
  }));

test('whole models: one layer, forward and a training step, written as figures', () =>
  inFolder((folder) => {
    const small = ['--layers', '1', '--size', '16', '--batch', '1', '--repeats', '1', '--threads', '1'];
    for (const name of ['model', 'train']) {
      const json = join(folder, `${name}.json`);
      const { stdout, stderr, status } = run(name, ...small, '--json', json);
      assert.equal(status, 0, stdout + stderr);
      assert.match(stdout, /^BEiT-3-base with 1 of 12 layers, .*1 x 16 px, float32, wasm, 1 threads$/m);
      assert.match(stdout, /^pytorch +not installed here/m);
      const figures = JSON.parse(readFileSync(json, 'utf8')) as Record<string, unknown>;
      assert.deepEqual([figures.device, figures.layers, figures.size], ['wasm', 1, 16]);
      assert.ok(Number(figures.seconds) > 0 && figures.peer === null);
    }
    const json = join(folder, 'pretrain.json');
    const own = '--task pretrain --size 32 --length 8 --words 99'.split(' ');
    const pretrain = run('train', ...small.toSpliced(2, 2), ...own, '--json', json);
    assert.equal(pretrain.status, 0, pretrain.stdout + pretrain.stderr);
    assert.match(
      pretrain.stdout,
      /a training step of 1 pictures of 32 px, 1 texts of 8 tokens and 1 pairs with 64, float32/,
    );
    assert.match(pretrain.stdout, /^azulejo +[\d.]+ samples\/s: .*; forward .* ms, backward .* ms, update .* ms\)/m);
    assert.equal((JSON.parse(readFileSync(json, 'utf8')) as { what: string }).what, 'pretraining step');
    const wrong = run('model', '--size', '100');
    assert.deepEqual(
      [wrong.status, wrong.stderr],
      [2, '--size must be a multiple of 16, the side of a patch, got 100.\n'],
    );
  }));

test('the table of a GPU run: ceilings, peers beside our kernels, what holds and what does not', () =>
  inFolder((folder) => {
    const row = { device: 'webgpu', dtype: 'float32' as const, sizes: { M: 4096, K: 4096, N: 4096 }, gbytes: 1 };
    const figures = { ofBandwidth: 1, overReference: 9, error: 1e-7, samples: 5 };
    const report: Report = {
      date: '2026-01-01T00:00:00Z',
      machine: 'a machine',
      node: '20',
      devices: [
        {
          name: 'webgpu',
          hardware: 'A GPU',
          ceiling: { float32: 60e12, float16: 120e12, matrix: 900e12, bandwidth: 4e12, how: '' },
        },
      ],
      rows: [
        { ...row, ...figures, name: 'matmul 4096', seconds: 0.005, gflops: 27_000, ofArithmetic: 45 },
        { ...row, name: 'matmul 4096', peer: 'pytorch cuda', seconds: 0.0025, ratio: 2 },
        { ...row, ...figures, name: 'attention 197', seconds: 0.005, gflops: 2_700, ofArithmetic: 4.5 },
        { ...row, name: 'fc2', failed: 'wrong: not what the reference backend computes', error: 0.5 },
      ],
    };
    writeFileSync(join(folder, 'kernels.json'), JSON.stringify(report));
    writeFileSync(join(folder, 'machine.txt'), 'gpu=A GPU, float16\nkernel=6.1\nnvidia=A GPU, 580.1, 1 MiB\n');
    const model = { what: 'forward', batch: 32, size: 224, layers: 12, dtype: 'float32', seconds: 0.1, median: 0.11 };
    const peer = { seconds: 0.05, median: 0.06, torch: '2.1', device: 'A GPU' };
    writeFileSync(join(folder, 'model.json'), JSON.stringify({ ...model, peer }));
    writeFileSync(
      join(folder, 'conformance.json'),
      JSON.stringify({
        seconds: 3,
        ops: [
          { op: 'add', failures: [] },
          { op: 'sum', failures: ['off'] },
        ],
      }),
    );
    const { stdout, stderr, status } = run('pack/table', folder);
    assert.equal(status, 0, stderr);
    const lines = [
      '- GPU: A GPU, float16',
      '- nvidia-smi (name, driver, memory): A GPU, 580.1, 1 MiB',
      'A GPU. Ceilings measured in the same run: float32 60.0 TFLOP/s, float16 120 TFLOP/s, matrix units 900 TFLOP/s, copy 4000 GB/s.',
      '| matmul 4096 | float32 | M4096 K4096 N4096 | 5.00 | 27000 | 45.0% | 1.00 | 1.0% | 9.00 | 1.0e-7 | 2.50 (2.00 x) |',
      '| fc2 | float32 | M4096 K4096 N4096 | wrong: not what the reference backend computes |  |  |  |  |  | 5.0e-1 |  |',
      '- float32 matmul, of the measured peak: 45.0% (wanted: 35%): holds',
      '- attention 197 float32, of the matmul rate: 10.0% (wanted: 30%): does not hold',
      '| forward | 32 x 224 px | float32 | 100 (110) | 320 | 50.0 (60.0) | 2.00 | 2.1, A GPU |',
      '- Conformance: 1 of 2 ops agree with the reference backend (3 s); not: sum.',
    ];
    for (const line of lines) assert.ok(stdout.split('\n').includes(line), `${line}\nis not in\n${stdout}`);
  }));

test('a program that takes too long is stopped', () => {
  const { status, stderr } = run('pack/limit', '0.3', process.execPath, '-e', 'setInterval(() => {}, 1000)');
  assert.deepEqual([status, stderr], [1, 'stopped: it took longer than 0.3 s\n']);
  assert.equal(run('pack/limit', '10', process.execPath, '-e', 'process.exit(3)').status, 3);
});

test('run.sh refuses what it does not know in one sentence', { skip: process.platform === 'win32' }, () => {
  const script = join(packageRoot, 'bench', 'pack', 'run.sh');
  const call = (...args: string[]) => spawnSync('sh', [script, ...args], { encoding: 'utf8' });
  assert.match(call('--help').stdout, /^usage: .\/run.sh .*--quick/);
  for (const [args, message] of [
    [['--fast'], 'There is no flag --fast; see --help.\n'],
    [['--adapter'], '--adapter needs a value; see --help.\n'],
    [['--limit', 'x'], '--limit and --batch must be whole numbers, got x.\n'],
    [['--only', 'kernels,all'], /^There is no part all; expected some of kernels, dispatch, .*\n$/],
  ] as const) {
    const { status, stderr } = call(...args);
    assert.equal(status, 2);
    if (typeof message === 'string') assert.equal(stderr, message);
    else assert.match(stderr, message);
  }
});
