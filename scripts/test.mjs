// `npm test [PATTERN...]`: builds, then runs every dist/test/**/*.test.js (those whose path contains a PATTERN) with
// node's own runner. The last line is `N passed, N failed, N skipped`.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
process.chdir(root);
const args = process.argv.slice(2);
const patterns = args.filter((a) => !a.startsWith('--'));

const built = spawnSync(
  process.execPath,
  ['scripts/build.mjs', ...(args.includes('--no-types') ? ['--no-types'] : [])],
  {
    stdio: 'inherit',
  },
);
if (built.status !== 0) process.exit(built.status ?? 1);

const files = readdirSync('dist/test', { recursive: true })
  .map((f) => join(root, 'dist', 'test', f))
  .filter((f) => f.endsWith('.test.js') && (patterns.length === 0 || patterns.some((p) => f.includes(p))))
  .sort();
if (files.length === 0) {
  console.error(`No test file matches ${patterns.join(' ')}.`);
  process.exit(2);
}
const count = { passed: 0, failed: 0, skipped: 0 };
const suites = new Set();
// Two files at a time: most of a file's time one core is enough for it.
const stream = run({ files, concurrency: Math.min(2, availableParallelism()) });
const seconds = new Map();
const tally = (kind) => (event) => {
  if (event.nesting === 0 && event.file && !suites.has(event.name))
    seconds.set(event.file, (seconds.get(event.file) ?? 0) + event.details.duration_ms / 1000);
  if (event.details?.type === 'suite' || suites.has(event.name)) return;
  if (event.skip !== undefined || event.todo !== undefined) count.skipped++;
  else count[kind]++;
};
for (const f of files) suites.add(f);
stream.on('test:pass', tally('passed'));
stream.on('test:fail', tally('failed'));
stream.compose(spec).pipe(process.stdout);
stream.on('end', () => {
  setTimeout(() => {
    const slowest = [...seconds].sort((x, y) => y[1] - x[1]).slice(0, 5);
    console.log(`\nSlowest: ${slowest.map(([file, s]) => `${relative(root, file)} ${s.toFixed(0)} s`).join(', ')}`);
    console.log(`\n${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
    process.exitCode = count.failed > 0 || count.passed === 0 ? 1 : 0;
  }, 100);
});
