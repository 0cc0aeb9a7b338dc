/** The size of what a page loads to infer on WebGPU, and what is not in it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { before, describe, it } from 'node:test';
import { pathToFileURL } from 'node:url';
import { gzipSync } from 'node:zlib';
import { type BuildOptions, build, type Metafile, type OutputFile } from 'esbuild';
import { packageRoot } from '../support/fixtures.js';

const MAX_BYTES = 120_000;

const ENTRY = `export { useBackend } from './backends/index.js';
export { pipeline } from './beit3/pipeline/index.js';`;

/** Backends that were not chosen, what only Node loads, and what a checkpoint of another family than BEiT-3 asks for. */
const NOT_LOADED =
  /^(backends\/(wasm|reference|gpujs)\/index|backends\/webgpu\/software|beit3\/images\/decodeSharp|beit3\/vit\/classifier)\.ts$|^without-node:/;

type Output = Metafile['outputs'][string];

describe('the bundle for inference on WebGPU', () => {
  let outputs: Metafile['outputs'];
  let files: Map<string, OutputFile>;

  before(async () => {
    const script = pathToFileURL(join(packageRoot, 'scripts', 'buildWeb.mjs')).href;
    const { bundling } = (await import(script)) as { bundling(entries: undefined): BuildOptions };
    const result = await build({
      ...bundling(undefined),
      stdin: { contents: ENTRY, resolveDir: packageRoot, loader: 'ts' },
      absWorkingDir: packageRoot,
      outdir: join(packageRoot, 'dist', 'not-written'),
      splitting: true,
      metafile: true,
      write: false,
    });
    outputs = result.metafile.outputs;
    files = new Map(result.outputFiles.map((file) => [file.path, file]));
  });

  /** What is loaded beginning with the entry: at once, or as well what is loaded on demand. */
  function loaded(onDemand: boolean): Output[] {
    const [entry] = Object.entries(outputs).find(([, { entryPoint }]) => entryPoint === '<stdin>') ?? [];
    assert.ok(entry !== undefined);
    const found = new Set<string>();
    const visit = (path: string): void => {
      if (found.has(path) || NOT_LOADED.test(outputs[path].entryPoint ?? '')) return;
      found.add(path);
      for (const { path: next, kind } of outputs[path].imports) {
        if (next in outputs && (onDemand || kind !== 'dynamic-import')) visit(next);
      }
    };
    visit(entry);
    return [...found].map((path) => outputs[path]);
  }

  const sources = (of: readonly Output[]): string[] => of.flatMap(({ inputs }) => Object.keys(inputs));

  it(`is at most ${MAX_BYTES} bytes, compressed`, (t) => {
    const parts = Object.entries(outputs).filter(([, output]) => loaded(true).includes(output));
    let total = 0;
    for (const [path, { entryPoint }] of parts) {
      const file = files.get(join(packageRoot, path));
      assert.ok(file, path);
      const bytes = gzipSync(file.contents, { level: 9 }).length;
      total += bytes;
      if (bytes > 1000) t.diagnostic(`${bytes} bytes: ${entryPoint ?? path}`);
    }
    t.diagnostic(`${total} bytes in all`);
    assert.ok(total > 20_000 && total <= MAX_BYTES, `${total} bytes`);
  });

  it('holds the pipelines and the backend', () => {
    const all = sources(loaded(true));
    for (const path of [
      'beit3/pipeline/retrieve.ts',
      'beit3/model/beit3.ts',
      'backends/webgpu/index.ts',
      'core/tensor.ts',
    ])
      assert.ok(all.includes(path), path);
  });

  it("holds no other backend, nothing of training, and nobody else's code", () => {
    const alien =
      /^backends\/(wasm|reference|gpujs)\/|^node_modules\/|^nn\/(optim|amp|ema|schedules)|^beit3\/(data|finetune|evaluate|emoji|metrics|parity)\/|^cli\//;
    assert.deepEqual(
      sources(loaded(true)).filter((path) => alien.test(path)),
      [],
    );
  });

  it('holds nothing of BEiT and BEiT v2 until a checkpoint asks for it', () => {
    assert.ok(Object.values(outputs).some(({ entryPoint }) => entryPoint === 'beit3/vit/classifier.ts'));
    assert.deepEqual(
      sources(loaded(true)).filter((path) => path.startsWith('beit3/vit/')),
      [],
    );
  });

  it('loads no backend before one is chosen', () => {
    assert.deepEqual(
      sources(loaded(false)).filter((path) => path.startsWith('backends/') && path !== 'backends/index.ts'),
      [],
    );
  });
});
