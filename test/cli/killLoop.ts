/**
 * A run that is killed again and again must end with the numbers of one that was left alone. As a script (with the
 * number of kills): node dist/test/cli/killLoop.js 20
 */
import assert from 'node:assert/strict';
import { watch } from 'node:fs';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { readTraining } from '../../beit3/finetune/state.js';
import { listCheckpoints } from '../../beit3/training/checkpoints.js';
import { writeStandIn } from '../beit3/standIns.js';
import { fixture } from '../checkpoints/helpers.js';
import { beit3 } from './command.js';

/** Sizes of a model that trains in no time. */
export const TINY = {
  encoder_embed_dim: 32,
  encoder_attention_heads: 2,
  encoder_ffn_embed_dim: 64,
  encoder_layers: 2,
  img_size: 48,
  patch_size: 16,
  max_source_positions: 40,
};

/** Lays out a stand-in and sizes in a folder; gives the arguments of a run in `<folder>/<output>`. */
export async function tinyRun(folder: string, ...flags: string[]): Promise<(output: string) => string[]> {
  await writeStandIn('coco_retrieval', join(folder, 'data'));
  await writeFile(join(folder, 'tiny.json'), JSON.stringify(TINY));
  return (output) => [
    ...['finetune', 'coco_retrieval', '--data', join(folder, 'data'), '--output', join(folder, output)],
    ...['--config', join(folder, 'tiny.json'), '--tokenizer', fixture('tokenizer.spm')],
    ...['--initialisation', 'magneto', '--batch-size', '4', '--warmup-epochs', '1', ...flags],
  ];
}

/** The records of a log without what depends on the clock. */
export async function logOf(folder: string): Promise<unknown[]> {
  const text = await readFile(join(folder, 'log.jsonl'), 'utf8');
  return text
    .trimEnd()
    .split('\n')
    .map((line) => {
      const { seconds, dataSeconds, ...record } = JSON.parse(line) as Record<string, unknown>;
      return record;
    });
}

export interface KillReport {
  readonly kills: number;
  /** Steps after which the killed runs were resumed. */
  readonly resumedAfter: readonly number[];
  /** Checkpoints that were being written when the run was killed. */
  readonly halfWritten: number;
}

/** What is killed: the arguments of a run by its output folder, and the files that it leaves there. */
export interface Killed {
  readonly run: (output: string) => string[];
  readonly files: readonly string[];
  /** Reads a training checkpoint; throws where it is none. */
  readonly read: (path: string) => Promise<unknown>;
}

/** A fine-tuning with everything that has a state. */
export async function killedFinetuning(folder: string, epochs: number): Promise<Killed> {
  const random = ['--randaug', '--drop-path', '0.2', '--model-ema', '--model-ema-decay', '0.9', '--seed', '7'];
  const often = ['--update-freq', '2', '--save-steps', '1', '--clip-grad', '1', '--workers', '1'];
  const run = await tinyRun(folder, ...random, ...often, '--epochs', String(epochs));
  return { run, files: ['model.safetensors', 'model-best.safetensors'], read: readTraining };
}

/** Kills a run `kills` times at random moments; throws where anything differs from a run that was left alone. */
export async function killLoop(folder: string, kills: number, { run, files, read }: Killed): Promise<KillReport> {
  const alone = await beit3(run('alone'));
  assert.equal(alone.code, 0, alone.stderr);
  const resumedAfter: number[] = [];
  let halfWritten = 0;
  for (let killed = 0; killed < kills; ) {
    // So many checkpoints after it has begun: a moment later, or as soon as the next one is being written.
    let saves = Math.floor(Math.random() * 5);
    const whileWriting = Math.random() < 0.5;
    await mkdir(join(folder, 'killed'), { recursive: true });
    const watcher = watch(join(folder, 'killed'));
    const { code, stderr } = await beit3(run('killed'), {
      onStart: (child) => {
        child.stderr?.on('data', (text: string) => {
          if (!/steps of \d+|\d steps|Saved/.test(text) || saves-- !== 0 || whileWriting) return;
          setTimeout(() => child.kill('SIGKILL'), Math.random() * 200);
        });
        watcher.on('change', (_, name) => {
          if (whileWriting && saves < 0 && name?.toString().endsWith('.tmp')) child.kill('SIGKILL');
        });
      },
    });
    watcher.close();
    // A run that has come to its end cannot be killed any more.
    if (code === 0) break;
    assert.equal(code, null, `killed, not ended: ${stderr}`);
    assert.doesNotMatch(stderr, /Skipped .*checkpoint/, 'a checkpoint cannot be read');
    killed++;
    for (const name of await readdir(join(folder, 'killed'))) if (name.endsWith('.tmp')) halfWritten++;
    const names = await listCheckpoints(join(folder, 'killed'));
    for (const name of names) await read(join(folder, 'killed', name));
    resumedAfter.push(Number(/\d+/.exec(names[0] ?? '0')?.[0]));
  }
  const last = await beit3(run('killed'));
  assert.equal(last.code, 0, last.stderr);
  for (const file of files) {
    const [one, other] = await Promise.all(['alone', 'killed'].map((name) => readFile(join(folder, name, file))));
    assert.ok(one.equals(other), `${file} differs after ${resumedAfter.length} kills`);
  }
  assert.deepEqual(await logOf(join(folder, 'killed')), await logOf(join(folder, 'alone')));
  return { kills: resumedAfter.length, resumedAfter, halfWritten };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = await mkdtemp(join(tmpdir(), 'azulejo-kills-'));
  try {
    const kills = Number(process.argv[2] ?? 20);
    console.log(await killLoop(folder, kills, await killedFinetuning(folder, Math.max(5, kills))));
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
