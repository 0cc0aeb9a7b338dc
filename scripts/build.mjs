// Builds dist/: esbuild transpiles every source file as it is (one file in, one file out), tsc writes the types beside
// them. Run by `npm ci` (prepare). `--no-types` skips the declarations for a quick rebuild.
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
process.chdir(root);
const rooms = ['core', 'autograd', 'backends', 'nn', 'beit3', 'checkpoints', 'bench', 'test', 'cli'];

/** Every TypeScript source below `dir`. */
function sources(dir) {
  const out = [];
  for (const e of readdirSync(dir, { withFileTypes: true })) {
    const path = join(dir, e.name);
    if (e.isDirectory()) {
      if (e.name !== 'fixtures' && e.name !== 'node_modules') out.push(...sources(path));
    } else if (e.name.endsWith('.ts') && !e.name.endsWith('.d.ts')) out.push(path);
  }
  return out;
}

if (!existsSync(join('node_modules', 'esbuild'))) {
  // An install without development packages (of a packed tarball) brings its own dist.
  process.exit(existsSync('dist') ? 0 : 1);
}
const { build } = await import('esbuild');
rmSync('dist', { recursive: true, force: true });
mkdirSync('dist', { recursive: true });
await build({
  entryPoints: ['index.ts', ...rooms.filter((r) => existsSync(r)).flatMap(sources)],
  outdir: 'dist',
  outbase: '.',
  format: 'esm',
  platform: 'neutral',
  target: 'es2022',
  sourcemap: 'linked',
  logLevel: 'error',
});
if (!process.argv.includes('--no-types')) {
  const tsc = spawnSync(
    process.execPath,
    [join('node_modules', 'typescript', 'bin', 'tsc'), '-p', '.', '--emitDeclarationOnly'],
    { stdio: 'inherit' },
  );
  if (tsc.status !== 0) process.exit(tsc.status ?? 1);
}
const { buildWeb } = await import('./buildWeb.mjs');
await buildWeb('dist');
// `npx beit3` in the checkout runs this build.
const cli = join('dist', 'cli', 'main.js');
if (existsSync(cli)) {
  chmodSync(cli, 0o755);
  const link = join('node_modules', '.bin', 'beit3');
  if (process.platform !== 'win32' && !lstatSync(link, { throwIfNoEntry: false })) {
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join('..', '..', cli), link);
  }
}
