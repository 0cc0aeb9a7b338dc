/**
 * `npm run pretrain:emoji`: what pretraining on pictures, texts and pairs is worth on emoji, against the same time of
 * training from scratch. A study that was stopped goes on when the command is given again. See the README of
 * beit3/zoo/emoji. Needs Node.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { backendNames, disposeBackend, useBackend } from '../../../backends/index.js';
import { InputError, messageOf } from '../../../core/errors.js';
import { parseJson } from '../../checkpoint.js';
import { loadEmojiCorpus } from '../corpus.js';
import { count, createLine } from '../progress.js';
import { makeFolder, writeWhole } from '../results.js';
import { prepareBenchmark } from '../zoo/prepare.js';
import { parseStudyFlags, type StudyFlags, studyUsage } from './flags.js';
import { RECIPE, studyTimes } from './recipe.js';
import { type SeedResults, studySeed } from './study.js';
import { armsTable, maskedTable, tokenizerTable } from './table.js';

const say = (text: string): void => void process.stdout.write(`${text}\n`);

interface StudyFile {
  readonly recipe: object;
  readonly seeds: readonly SeedResults[];
}

async function study({ seeds, scale, threads, resume, output }: StudyFlags): Promise<void> {
  const backend = await useBackend('wasm', { threads });
  await makeFolder(output);
  const path = join(output, 'results.json');
  const recipe = { ...RECIPE, times: studyTimes(scale) };
  const line = createLine(process.stdout);
  const onProgress = (done: number, total: number) =>
    line.update(`drawing the emoji: ${count(done)} of ${count(total)}`);
  const corpus = await loadEmojiCorpus({ size: RECIPE.size, onProgress }).finally(() => line.end());
  const prepared = prepareBenchmark(corpus, RECIPE.vocabulary);
  const results = new Map<number, SeedResults>(
    (resume ? await resultsIn(path, recipe) : []).map((known) => [known.seed, known]),
  );
  const stop = new AbortController();
  const onSignal = (): void => stop.abort();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal);
  for (const seed of seeds) {
    const known = results.get(seed) ?? { seed, arms: {} };
    const options = { backend, corpus, prepared, times: recipe.times, folder: output, signal: stop.signal };
    await studySeed(
      {
        ...options,
        onStep: (what, { step, loss, progress }) =>
          line.update(`${what}: step ${count(step)}  loss ${loss.toFixed(3)}  ${(100 * progress).toFixed(0)}%`),
      },
      known,
      async (found) => {
        results.set(seed, found);
        const all: StudyFile = { recipe, seeds: [...results.values()].sort((a, b) => a.seed - b.seed) };
        await writeWhole(path, `${JSON.stringify(all, null, 2)}\n`);
      },
    ).finally(() => line.end());
  }
  const all = [...results.values()].sort((a, b) => a.seed - b.seed);
  for (const table of [tokenizerTable(all), maskedTable(all), armsTable(all)]) if (table !== '') say(`\n${table}`);
  say(`\nAll numbers lie in ${path}.`);
}

/** What an earlier part of the study found. Throws InputError for results of another recipe. */
async function resultsIn(path: string, recipe: object): Promise<readonly SeedResults[]> {
  if (!existsSync(path)) return [];
  const file = parseJson(await readFile(path, 'utf8'), path) as StudyFile;
  if (JSON.stringify(file.recipe) !== JSON.stringify(recipe))
    throw new InputError(
      `${path} is of another recipe or --scale; give another --output, or --resume none to start over.`,
    );
  return file.seeds;
}

async function main(argv: readonly string[]): Promise<number> {
  try {
    const flags = parseStudyFlags(argv);
    if (flags.help) say(studyUsage());
    else await study(flags);
    return 0;
  } catch (error) {
    process.stderr.write(`pretrain:emoji: ${messageOf(error)}\n`);
    return error instanceof InputError ? 2 : 1;
  } finally {
    for (const name of backendNames()) await disposeBackend(name).catch(() => {});
  }
}

process.exitCode = await main(process.argv.slice(2));
