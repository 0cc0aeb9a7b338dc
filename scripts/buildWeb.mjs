// Bundles what runs in a browser with esbuild, as ES modules with code splitting, so that a backend is loaded when it is
// chosen: the library into dist/browser/ (the "browser" entries of package.json) and the page, with the small model that
// it begins with, into dist/web/. Both folders can be served from any path. Called by build.mjs; alone it takes the
// folder to write to.
import { copyFileSync, mkdirSync, rmSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What only Node has: the branches that load it never run in a page. */
const NODE_ONLY = /^(node:.*|sharp|webgpu|@sparticuz\/chromium)$/;
const withoutNode = {
  name: 'without-node',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: NODE_ONLY }, () => ({ path: 'node', namespace: 'without-node' }));
    // CommonJS, so that any name can be imported from it.
    onLoad({ filter: /.*/, namespace: 'without-node' }, () => ({
      contents: "module.exports = {}; throw new Error('This part of Azulejo needs Node.');",
    }));
  },
};

/** The options of every bundle for a browser; `entryPoints` are paths by name of output. */
export const bundling = (entryPoints) => ({
  absWorkingDir: root,
  entryPoints,
  bundle: true,
  format: 'esm',
  platform: 'browser',
  target: 'es2022',
  minify: true,
  legalComments: 'eof',
  plugins: [withoutNode],
  logLevel: 'error',
});

/** Threads are started from a file named worker.js beside the code that starts them: one file without chunks. */
const THREAD = { worker: 'backends/wasm/workers/worker.ts' };

const LIBRARY = {
  index: 'index.ts',
  nn: 'nn/index.ts',
  checkpoints: 'checkpoints/index.ts',
  beit3: 'beit3/index.ts',
};
const PAGE = { main: 'web/main.ts', engine: 'web/engine/worker.ts' };
const PAGE_FILES = ['index.html', 'style.css'];
const MODEL_FILES = ['model.safetensors', 'emoji.spm', 'classes.txt', 'answer2label.txt'];

async function bundle(entryPoints, outdir) {
  rmSync(outdir, { recursive: true, force: true });
  await build({ ...bundling(entryPoints), outdir, splitting: true, chunkNames: '[name]-[hash]' });
  await build({ ...bundling(THREAD), outdir });
}

/** Writes `browser/` and `web/` below the folder `dist`. */
export async function buildWeb(folder) {
  const dist = resolve(folder);
  await bundle(LIBRARY, join(dist, 'browser'));
  const web = join(dist, 'web');
  await bundle(PAGE, web);
  for (const name of PAGE_FILES) copyFileSync(join(root, 'web', name), join(web, name));
  mkdirSync(join(web, 'emoji'));
  for (const name of MODEL_FILES) copyFileSync(join(root, 'beit3', 'zoo', 'emoji', name), join(web, 'emoji', name));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await buildWeb(process.argv[2] ?? 'dist');
