/**
 * `npm run quickstart`: trains a small BEiT-3 from nothing on eight styles of emoji, then looks for the emoji of the
 * ninth from their names. See README.md beside this file. Needs Node.
 */

import { join, relative } from 'node:path';
import { backendNames, disposeBackend, useBackend } from '../../backends/index.js';
import { InputError, messageOf } from '../../core/errors.js';
import { saveModel } from '../checkpoint.js';
import { Tokenizer } from '../tokenizer/index.js';
import { EMOJI_STYLES, type EmojiCorpus, loadEmojiCorpus } from './corpus.js';
import { parseFlags, type QuickstartFlags, usage } from './flags.js';
import { count, createLine, duration, recallTable, stepTexts } from './progress.js';
import { makeFolder, sheetOf, writePictures, writeWhole } from './results.js';
import { searchStyle } from './search.js';
import { trainEmojiTokenizer } from './text.js';
import { emojiModelSpec, trainEmojiModel } from './train.js';

/** The style that training never shows. */
const HELD_OUT = 'twemoji';

const say = (text: string): void => void process.stdout.write(`${text}\n`);

async function quickstart(flags: QuickstartFlags): Promise<void> {
  const backend = await useBackend(flags.device, { threads: flags.threads });
  await makeFolder(flags.output);
  const corpus = await drawnCorpus(flags.size);
  const training = corpus.entries.filter((entry) => entry.style !== HELD_OUT);
  const spm = trainEmojiTokenizer(training).bytes;
  const tokenizer = Tokenizer.fromBytes(spm);
  const { width, layers, size, patch } = flags;
  const spec = emojiModelSpec({ width, layers, size, patch, vocabulary: tokenizer.vocabularySize });

  const stop = new AbortController();
  const onInterrupt = (): void => {
    // A second Ctrl-C does not wait.
    if (stop.signal.aborted) process.exit(130);
    stop.abort();
  };
  process.on('SIGINT', onInterrupt);
  const others = EMOJI_STYLES.filter((style) => style !== HELD_OUT);
  const { steps, minutes } = flags;
  const until = steps === undefined ? { seconds: 60 * minutes } : { steps };
  say(`Training on ${count(training.length)} pictures in the styles ${others.join(', ')}`);
  const ends = steps === undefined ? `${duration(60 * minutes)} minutes` : `${count(steps)} steps`;
  say(`for ${ends}, on ${backend.name}; Ctrl-C ends it early.`);
  const line = createLine(process.stdout);
  const stepText = stepTexts(flags.batch);
  const { seed, batch, lr } = flags;
  const trained = await trainEmojiModel({
    corpus,
    tokenizer,
    spec,
    backend,
    heldOut: HELD_OUT,
    until,
    seed,
    batch,
    lr,
    signal: stop.signal,
    onStep: (step) => line.update(stepText(step)),
  }).finally(() => line.end());
  const { model, losses, seconds } = trained;
  try {
    const pictures = losses.length * batch;
    const last = losses.slice(-20).reduce((sum, loss, _, all) => sum + loss / all.length, 0);
    say(
      `${stop.signal.aborted ? 'Stopped' : 'Trained'} after ${count(losses.length)} steps in ${duration(seconds)}: ` +
        `${model.parameterCount().toLocaleString('en-US')} parameters, ${count(pictures)} pictures seen, loss ${last.toFixed(3)}.`,
    );
    const search = await searchStyle(model, corpus, tokenizer, HELD_OUT);
    const table = recallTable(search.recall, search.entries.length);
    say(`Looking through all ${count(search.entries.length)} ${HELD_OUT}, a style that was never shown:\n${table}`);

    const place = (name: string): string => join(flags.output, name);
    await saveModel(model, spec, place('model.safetensors'));
    await writeWhole(place('tokenizer.spm'), spm);
    await writePictures(place(HELD_OUT), corpus, search);
    const { ir_r1, ir_r5, ir_r10 } = search.recall;
    const summary = [
      `A BEiT-3 trained for ${duration(seconds)} on emoji of the styles ${others.join(', ')} looks for labels among all ` +
        `${count(search.entries.length)} pictures of ${HELD_OUT}, which it has never seen.`,
      `The right picture comes first for ${ir_r1.toFixed(1)}% of all labels, among the first five for ${ir_r5.toFixed(1)}%, ` +
        `among the first ten for ${ir_r10.toFixed(1)}%. By chance it would be first for ${(100 / search.entries.length).toFixed(2)}%.`,
      'The queries below were drawn by lot.',
    ];
    await writeWhole(place('quickstart.html'), await sheetOf(corpus, search, seed, summary));
    const shown = (name: string): string => relative('', place(name)) || '.';
    say(`Written:
  ${shown('quickstart.html')}  queries and what was found: open it in a browser
  ${shown('model.safetensors')}, ${shown('tokenizer.spm')}  the model
  ${shown(HELD_OUT)}  the pictures
Next, with words of your own (in lower case):
  npx beit3 retrieve "red apple" ${shown(HELD_OUT)} --checkpoint ${shown('model.safetensors')} --top 5`);
  } finally {
    process.off('SIGINT', onInterrupt);
    model.dispose();
  }
}

async function drawnCorpus(size: number): Promise<EmojiCorpus> {
  const line = createLine(process.stdout);
  const onProgress = (done: number, total: number, style: string) =>
    line.update(`drawing the emoji: ${count(done)} of ${count(total)} (${style})`);
  return await loadEmojiCorpus({ size, onProgress }).finally(() => line.end());
}

async function main(argv: readonly string[]): Promise<number> {
  try {
    const flags = parseFlags(argv);
    if (flags.help) say(usage());
    else await quickstart(flags);
    return 0;
  } catch (error) {
    process.stderr.write(`quickstart: ${messageOf(error)}\n`);
    return error instanceof InputError ? 2 : 1;
  } finally {
    for (const name of backendNames()) await disposeBackend(name).catch(() => {});
  }
}

process.exitCode = await main(process.argv.slice(2));
