/** The code in README.md runs as it stands there, with small models under the names of the official ones. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { COMMANDS } from '../../cli/commands/index.js';
import { writePhoto, writeTinyCheckpoint, writeTinyTokenizer } from '../beit3/tinyModels.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const CHECKPOINTS = {
  imageclassification: 'beit3_base_patch16_224_in1k.pth',
  vqav2: 'beit3_base_patch16_480_vqa.pth',
  nlvr2: 'beit3_base_patch16_224_nlvr2.pth',
  captioning: 'beit3_base_patch16_480_coco_captioning.pth',
  retrieval: 'beit3_base_patch16_384_coco_retrieval.pth',
};

let folder = '';
let readme = '';

before(async () => {
  readme = await readFile(join(ROOT, 'README.md'), 'utf8');
  folder = await mkdtemp(join(tmpdir(), 'azulejo-readme-'));
  await mkdir(join(folder, 'node_modules'));
  await symlink(ROOT, join(folder, 'node_modules', 'azulejo'));
  for (const [dump, name] of Object.entries(CHECKPOINTS)) await writeTinyCheckpoint(dump, join(folder, name));
  await writeTinyTokenizer(join(folder, 'beit3.spm'));
  for (const name of ['photo.jpg', 'left.jpg', 'right.jpg'])
    await writePhoto(join(folder, name), name.length * 20, 99, 20);
  const lines = (count: number, line: (i: number) => string) =>
    Array.from({ length: count }, (_, i) => line(i)).join('\n');
  await writeFile(
    join(folder, 'imagenet.txt'),
    lines(11, (i) => `class ${i}`),
  );
  await writeFile(
    join(folder, 'answer2label.txt'),
    lines(17, (i) => JSON.stringify({ answer: `answer ${i}`, label: i })),
  );
});

after(() => rm(folder, { recursive: true, force: true }));

function runNode(file: string): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [file], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000 });
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (data: Buffer) => (stdout += data.toString()));
    child.stderr.on('data', (data: Buffer) => (stderr += data.toString()));
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

test('every example prints something, and its process ends by itself', async () => {
  const blocks = [...readme.matchAll(/```js\n([\s\S]*?)```/g)].map(([, code]) => code);
  const tasks = blocks.flatMap((code) => /pipeline\('(\w+)'/.exec(code)?.[1] ?? []);
  assert.deepEqual(tasks, ['classify', 'vqa', 'nlvr2', 'caption', 'retrieve', 'embed']);
  // The framework, and a captured step.
  assert.equal(blocks.length, tasks.length + 2);
  for (const [i, code] of blocks.entries()) {
    const file = join(folder, `example${i}.mjs`);
    await writeFile(file, code);
    const { code: exit, stdout, stderr } = await runNode(file);
    assert.deepEqual([exit, stderr], [0, ''], code);
    assert.ok(stdout.trim() !== '', code);
    if (!code.includes('AdamW')) continue;
    const values = JSON.parse(stdout) as number[][];
    assert.deepEqual(
      // What lies just below 0 rounds to -0.
      values.map(([v]) => Math.round(v) + 0),
      [0, 1, 1, 0],
      'the example has learnt',
    );
  }
});

test('the two commands and every command of beit3 are named', async () => {
  for (const command of ['npm ci && npm run quickstart', 'npm ci && npm test'])
    assert.ok(readme.includes(`\`\`\`sh\n${command}\n\`\`\``), command);
  for (const name of COMMANDS.keys()) assert.match(readme, new RegExp(`^\\| \`${name}[ \`]`, 'm'), name);
  const { scripts } = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>;
  };
  assert.ok(scripts.quickstart && scripts.test);
  for (const name of Object.keys(scripts).filter((script) => script.includes(':')))
    assert.ok(
      readme.includes(`npm run ${name}\``) || readme.includes(`, \`${name}\``) || readme.includes(`and \`${name}\``),
      name,
    );
});
