/** The packed package, installed into an empty folder: three lines as ESM, the command, the types. Needs no network. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { build } from 'esbuild';
import { writePhoto, writeTinyCheckpoint } from '../beit3/tinyModels.js';
import { packageRoot } from '../support/fixtures.js';

/** Why declarations cannot be tested, if they cannot. */
const untyped = existsSync(join(packageRoot, 'dist', 'index.d.ts')) ? false : 'this build was made with --no-types';

/** Of which the model takes five. */
const MAX_PACKED_BYTES = 9 * 2 ** 20;

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly files: readonly { readonly path: string }[];
}

interface Manifest {
  readonly version: string;
  readonly dependencies?: Readonly<Record<string, string>>;
}

const manifestOf = (folder: string): Manifest => JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));

/** What npm tells scripts about the package whose tests run is not for the npm of another folder. */
const environment = Object.fromEntries(
  Object.entries(process.env).filter(([name]) => !/^npm_(package|lifecycle|config_local_prefix|command)/.test(name)),
);

/** Runs a program and returns what it printed; fails, with all of it, when the program does. */
function run(folder: string, program: string, ...args: string[]): string {
  const isScript = process.platform === 'win32';
  const done = spawnSync(program, args, { cwd: folder, env: environment, encoding: 'utf8', shell: isScript });
  assert.equal(done.error, undefined, `${program}: ${done.error?.message}`);
  assert.equal(done.status, 0, `${program} ${args.join(' ')}\n${done.stdout}\n${done.stderr}`);
  return done.stdout;
}

/** Packs a folder into `target`. The build exists already: `prepare` would make it again under the running tests. */
function pack(folder: string, target: string): Packed {
  const out = run(target, 'npm', 'pack', folder, '--json', '--ignore-scripts', '--pack-destination', target);
  const parsed: readonly Packed[] | Readonly<Record<string, Packed>> = JSON.parse(out);
  return Object.values(parsed)[0];
}

/** The folders of everything that the package needs at run time. */
function dependencyFolders(names: readonly string[], found = new Map<string, string>()): Map<string, string> {
  for (const name of names) {
    if (found.has(name)) continue;
    const folder = join(packageRoot, 'node_modules', name);
    found.set(name, folder);
    dependencyFolders(Object.keys(manifestOf(folder).dependencies ?? {}), found);
  }
  return found;
}

describe('the packed package', { timeout: 180_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'azulejo-package-'));
  const app = join(folder, 'app');
  let packed: Packed;

  before(() => {
    mkdirSync(app);
    packed = pack(packageRoot, folder);
    // The dependencies as packages of their own, so that npm finds all it needs on this machine.
    const own = manifestOf(packageRoot);
    const others = [...dependencyFolders(Object.keys(own.dependencies ?? {})).values()].map((f) => pack(f, folder));
    writeFileSync(join(app, 'package.json'), '{ "private": true, "type": "module" }\n');
    const tarballs = [packed, ...others].map(({ filename }) => join(folder, filename));
    const quiet = ['--no-audit', '--no-fund', '--no-package-lock', '--omit=optional', '--offline'];
    run(app, 'npm', 'install', ...quiet, ...tarballs);
  });

  after(() => rmSync(folder, { recursive: true }));

  it('holds the library and its papers, no tests, no sources, and is small', (t) => {
    const paths = packed.files.map((f) => f.path);
    const model = ['model.safetensors', 'emoji.spm', 'classes.txt', 'answer2label.txt', 'recipe.json', 'README.md'];
    const zoo = model.map((name) => `beit3/zoo/emoji/${name}`);
    const browser = ['browser/index.js', 'browser/beit3.js', 'web/index.html', 'web/main.js'].map((f) => `dist/${f}`);
    for (const path of ['LICENSE', 'NOTICE', 'README.md', 'package.json', 'dist/index.js', ...browser, ...zoo]) {
      assert.ok(paths.includes(path), `${path} is missing`);
    }
    const rooms = new Set(paths.filter((p) => p.startsWith('dist/')).map((p) => p.split('/')[1]));
    for (const room of ['test', 'bench']) assert.ok(!rooms.has(room), `dist/${room} is inside`);
    const wrong = paths.filter(
      (p) =>
        !/^(dist\/.+\.(js|d\.ts|js\.map)|dist\/web\/(index\.html|style\.css)|LICENSE|NOTICE|README\.md|package\.json|beit3\/zoo\/emoji\/[\w.]+)$/.test(
          p,
        ) || /\.test\.|fixture/.test(p),
    );
    assert.deepEqual(wrong, []);
    t.diagnostic(`${paths.length} files, ${packed.size} bytes packed, ${packed.unpackedSize} unpacked`);
    assert.ok(packed.size < MAX_PACKED_BYTES, `${packed.size} bytes packed`);
  });

  it('has declarations beside every file that can be imported', { skip: untyped }, () => {
    const paths = packed.files.map((f) => f.path);
    // What is bundled for browsers has the declarations of what it was made from.
    const scripts = paths.filter((p) => p.endsWith('.js') && !/^dist\/(browser|web)\//.test(p));
    assert.ok(scripts.length > 0);
    assert.deepEqual(
      scripts.filter((path) => !paths.includes(path.replace(/\.js$/, '.d.ts'))),
      [],
    );
  });

  it('installs with its dependencies only', () => {
    assert.ok(existsSync(join(app, 'node_modules', 'ndarray')));
    for (const name of ['sharp', 'typescript', 'esbuild'])
      assert.ok(!existsSync(join(app, 'node_modules', name)), name);
  });

  it('runs three lines as ESM, on both backends', () => {
    writeFileSync(
      join(app, 'three.js'),
      `import { tensor, useBackend } from 'azulejo';
for (const name of ['wasm', 'reference']) {
  const backend = await useBackend(name);
  const x = tensor([[1, 2], [3, 4]], { requiresGrad: true });
  x.matmul(x).sum().backward();
  console.log(backend.name, JSON.stringify(await x.grad.toArray()));
}
`,
    );
    const lines = run(app, process.execPath, 'three.js').trim().split('\n');
    assert.deepEqual(lines, ['wasm [[7,11],[9,13]]', 'reference [[7,11],[9,13]]']);
  });

  it('trains with azulejo/nn', () => {
    writeFileSync(
      join(app, 'train.js'),
      `import { scope, tensor, useBackend } from 'azulejo';
import { AdamW, Builder, Linear, mseLoss } from 'azulejo/nn';
await useBackend('wasm', { threads: 1 });
const layer = new Linear(new Builder(), 1, 1);
const adamw = new AdamW(layer.namedParameters(), { lr: 0.1, weightDecay: 0 });
const [x, y] = [tensor([[0], [1], [2]]), tensor([[1], [3], [5]])];
for (let i = 0; i < 300; i++) {
  scope(() => mseLoss(layer.forward(x), y).backward());
  adamw.step();
  adamw.zeroGrad();
}
console.log((await layer.weight.item()).toFixed(1), (await layer.bias.item()).toFixed(1));
`,
    );
    assert.equal(run(app, process.execPath, 'train.js').trim(), '2.0 1.0');
  });

  it('classifies a picture with azulejo/beit3 and reads checkpoints with azulejo/checkpoints', async () => {
    await writeTinyCheckpoint('imageclassification', join(app, 'tiny.safetensors'));
    writeFileSync(
      join(app, 'classify.js'),
      `import { pipeline } from 'azulejo/beit3';
import { openCheckpoint } from 'azulejo/checkpoints';
const pixels = { width: 48, height: 40, data: new Uint8Array(48 * 40 * 3).fill(90) };
const classifier = await pipeline('classify', { checkpoint: 'tiny.safetensors' });
const found = await classifier.run(pixels);
const checkpoint = await openCheckpoint('tiny.safetensors');
console.log(found.length, found[0].probability > found[4].probability, checkpoint.format);
`,
    );
    assert.equal(run(app, process.execPath, 'classify.js').trim(), '5 true safetensors');
  });

  it('brings a model that answers at once', () => {
    writeFileSync(
      join(app, 'shipped.js'),
      `import { pipeline, shippedModel } from 'azulejo/beit3';
const { checkpoint, tokenizer, answers } = await shippedModel();
const vqa = await pipeline('vqa', { checkpoint, tokenizer, labels: answers, threads: 1 });
const white = { width: 32, height: 32, data: new Uint8Array(32 * 32 * 3).fill(255) };
const [{ answer }] = await vqa.run(white, 'Is this food?');
console.log(checkpoint.includes('node_modules'), answer === 'yes' || answer === 'no');
`,
    );
    assert.equal(run(app, process.execPath, 'shipped.js').trim(), 'true true');
  });

  it('loads pictures in threads', () => {
    writeFileSync(
      join(app, 'loader.js'),
      `import { DataLoader, evaluation } from 'azulejo/beit3';
const sample = (row) => ({ pictures: [{ width: 2, height: 2, data: new Uint8Array(12).fill(255 * row) }], label: row });
const data = { task: 'imageclassification', size: 2, classes: 2, vocabulary: null, sample, where: String };
const loader = new DataLoader(data, { batchSize: 2, transform: evaluation('vl', 2), training: false, workers: 1 });
for await (const { images, labels } of loader.epoch(0)) console.log(images[0], images[12], ...labels);
`,
    );
    assert.equal(run(app, process.execPath, 'loader.js').trim(), '-1 1 0 1');
  });

  it('is bundled for a page by those who use it, with no settings', async () => {
    writeFileSync(
      join(app, 'page.js'),
      `import { useBackend } from 'azulejo';
import { pipeline } from 'azulejo/beit3';
import { openCheckpoint } from 'azulejo/checkpoints';
import { Linear } from 'azulejo/nn';
console.log(useBackend, pipeline, openCheckpoint, Linear);
`,
    );
    const options = { bundle: true, splitting: true, format: 'esm', platform: 'browser', write: false } as const;
    const { warnings, outputFiles } = await build({
      ...options,
      entryPoints: [join(app, 'page.js')],
      outdir: join(app, 'out'),
      logLevel: 'silent',
    });
    assert.deepEqual(warnings, []);
    for (const { path, text } of outputFiles) assert.doesNotMatch(text, /["']node:/, path);
  });

  it('keeps gradients when a bundler drops what is not used', async () => {
    const programs = [
      `import { tensor, useBackend } from 'azulejo';
await useBackend('reference');
const x = tensor([3], { requiresGrad: true });
x.mul(x).sum().backward();
console.log(await x.grad.toArray());`,
      `import { useBackend, tensor } from 'azulejo';
import { Builder, Linear, mseLoss } from 'azulejo/nn';
await useBackend('reference');
const layer = new Linear(new Builder(), 1, 1);
const x = tensor([[2]], { requiresGrad: true });
mseLoss(layer.forward(x), layer.forward(x).detach().add(-3)).backward();
console.log(await layer.bias.grad.toArray());`,
    ];
    for (const contents of programs) {
      const outfile = join(app, 'bundled.mjs');
      await build({
        stdin: { contents, resolveDir: app },
        outfile,
        bundle: true,
        format: 'esm',
        platform: 'node',
        external: ['sharp', 'webgpu', 'gpu.js'],
      });
      // The layer's weights are random, and so is the last rounding.
      const [slope] = JSON.parse(run(app, process.execPath, outfile)) as number[];
      assert.ok(Math.abs(slope - 6) < 1e-5, `${slope}`);
    }
  });

  it('serves the page with its model', async () => {
    const main = join(app, 'node_modules', 'azulejo', 'dist', 'cli', 'main.js');
    const server = spawn(process.execPath, [main, 'web', '--port', '0', '--json'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = once(server, 'exit');
    try {
      const [line] = (await Promise.race([once(server.stdout, 'data'), ended])) as [Buffer];
      const { address } = JSON.parse(String(line)) as { address: string };
      for (const name of ['', 'main.js', 'emoji/model.safetensors']) {
        const response = await fetch(address + name);
        assert.equal(response.status, 200, name);
        assert.ok((await response.arrayBuffer()).byteLength > 1000, name);
      }
    } finally {
      server.kill('SIGINT');
    }
    if (process.platform !== 'win32') assert.deepEqual(await ended, [130, null]);
  });

  it('without sharp a picture file is refused in one sentence', async () => {
    const photo = await writePhoto(join(app, 'photo.png'), 1, 2, 3);
    writeFileSync(
      join(app, 'photo.js'),
      `import { decodeImage } from 'azulejo/beit3';
await decodeImage('photo.png').catch((error) => console.log(error.name, error.message));
`,
    );
    assert.ok(existsSync(photo));
    assert.match(run(app, process.execPath, 'photo.js'), /^InputError [^\n]*sharp[^\n]*\n$/);
  });

  it('has the command beit3, also under npx', () => {
    const { version } = manifestOf(packageRoot);
    const command = join(app, 'node_modules', '.bin', process.platform === 'win32' ? 'beit3.cmd' : 'beit3');
    assert.ok(run(app, command, '--version').includes(version));
    assert.ok(run(app, 'npx', '--no', '--', 'beit3', '--version').includes(version));
    assert.match(run(app, command, '--help'), /classify[\s\S]*parity/);
  });

  for (const moduleResolution of ['nodenext', 'bundler']) {
    it(`has types that resolve and hold under ${moduleResolution}`, { skip: untyped }, () => {
      writeFileSync(
        join(app, 'typed.ts'),
        `import { scope, type Tensor, tensor, useBackend } from 'azulejo';
import { type Classification, type DataLoader, openDataSet, pipeline, type VqaBatch } from 'azulejo/beit3';
import { openCheckpoint } from 'azulejo/checkpoints';
import { AdamW, Builder, Linear } from 'azulejo/nn';

await useBackend('auto');
const x: Tensor = tensor([[1, 2], [3, 4]]);
const y: Tensor = scope(() => x.matmul(x).sum());
y.backward();
const classifier = await pipeline('classify', { checkpoint: 'a.pth' });
const best: Classification = (await classifier.run('a.png'))[0];
const captions = await pipeline('caption', { checkpoint: 'a.pth' });
const step: Tensor | null = new AdamW(new Linear(new Builder(), 1, 1).namedParameters()).step();
const questions: number = (await openDataSet('vqav2', 'val', { data: 'coco' })).size;
declare const loader: DataLoader<'vqav2'>;
for await (const batch of loader.epoch(0)) batch satisfies VqaBatch;
const names: string[] = [...(await openCheckpoint('a.pth')).tensors.keys()];
// @ts-expect-error a shape is no string
tensor([1], { shape: '1' });
// @ts-expect-error there is no such task
await pipeline('paint', { checkpoint: 'a.pth' });
// @ts-expect-error a caption is no classification
const wrong: Classification = await captions.run('a.png');
export { best, names, questions, step, wrong };
`,
      );
      const compilerOptions = {
        strict: true,
        noEmit: true,
        target: 'es2022',
        module: moduleResolution === 'bundler' ? 'esnext' : 'nodenext',
        moduleResolution,
        lib: ['es2023', 'esnext.disposable', 'dom', 'dom.iterable'],
        types: [],
        // The package's own declarations are checked too.
        skipLibCheck: false,
      };
      writeFileSync(join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['typed.ts'] }));
      run(app, process.execPath, join(packageRoot, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', '.');
    });
  }
});
