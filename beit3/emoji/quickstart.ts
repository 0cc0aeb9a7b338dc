/**
 * `npm run quickstart`: shows what the model in the package says of emoji in a style that it has never seen, trains it
 * further on the eight other styles (or another one from nothing), then looks for the emoji of the ninth from their
 * names. See README.md beside this file. Needs Node.
 */

import { readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { backendNames, disposeBackend, useBackend } from '../../backends/index.js';
import { InputError, messageOf } from '../../core/errors.js';
import { loadModel, saveModel } from '../checkpoint.js';
import type { Retrieval } from '../heads/index.js';
import { Tokenizer } from '../tokenizer/index.js';
import { type ShippedModel, shippedModel } from '../zoo/shipped.js';
import { EMOJI_STYLES, type EmojiCorpus, loadEmojiCorpus } from './corpus.js';
import { parseFlags, type QuickstartFlags, usage } from './flags.js';
import { count, createLine, duration, recallTable, stepTexts } from './progress.js';
import { makeFolder, sheetOf, writePictures, writeWhole } from './results.js';
import { type EmojiSearch, searchStyle } from './search.js';
import { type Shown, showModel, shownLines } from './show.js';
import { trainEmojiTokenizer } from './text.js';
import { emojiModelSpec, type RetrievalSpec, trainEmojiModel } from './train.js';

/** The style that training never shows. */
const HELD_OUT = 'twemoji';

const say = (text: string): void => void process.stdout.write(`${text}\n`);

/** What training starts with. */
interface Start {
  readonly spm: Uint8Array;
  readonly spec: RetrievalSpec;
  /** The model to go on from, what it said and what it found; null where training starts from nothing. */
  readonly shipped: { readonly model: Retrieval; readonly shown: Shown; readonly search: EmojiSearch } | null;
}

async function quickstart(flags: QuickstartFlags): Promise<void> {
  const backend = await useBackend(flags.device, { threads: flags.threads });
  await makeFolder(flags.output);
  const files = flags.from === 'shipped' ? await shippedModel() : null;
  const loaded = files && (await loadModel(files.checkpoint, { task: 'retrieval', backend }));
  const corpus = await drawnCorpus(loaded?.spec.config.img_size ?? flags.size);
  const training = corpus.entries.filter((entry) => entry.style !== HELD_OUT);
  const start = files && loaded ? await startOfShipped(files, loaded, corpus, flags) : startOfNothing(training, flags);
  const { spm, spec, shipped } = start;
  const tokenizer = Tokenizer.fromBytes(spm);

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
    start: shipped?.model,
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
    if (shipped) say(beforeLine(shipped.search));
    if (shipped && stop.signal.aborted)
      say('A training that is stopped early may be worse than none: its learning rate had not fallen yet.');

    const place = (name: string): string => join(flags.output, name);
    await saveModel(model, spec, place('model.safetensors'));
    await writeWhole(place('tokenizer.spm'), spm);
    await writePictures(place(HELD_OUT), corpus, search);
    const { ir_r1, ir_r5, ir_r10 } = search.recall;
    const summary = [
      `A BEiT-3${shipped ? ' from the package, trained further' : ' trained'} for ${duration(seconds)} on emoji of the styles ${others.join(', ')} looks for labels among all ` +
        `${count(search.entries.length)} pictures of ${HELD_OUT}, which it has never seen.`,
      `The right picture comes first for ${ir_r1.toFixed(1)}% of all labels, among the first five for ${ir_r5.toFixed(1)}%, ` +
        `among the first ten for ${ir_r10.toFixed(1)}%. By chance it would be first for ${(100 / search.entries.length).toFixed(2)}%.`,
      shipped
        ? 'The pictures below, with what the model said of them before it was trained further, and the queries were drawn by lot.'
        : 'The queries below were drawn by lot.',
    ];
    await writeWhole(place('quickstart.html'), await sheetOf(corpus, search, seed, summary, shipped?.shown));
    const shown = (name: string): string => relative('', place(name)) || '.';
    say(`Written:
  ${shown('quickstart.html')}  queries and what was found: open it in a browser
  ${shown('model.safetensors')}, ${shown('tokenizer.spm')}  the model
  ${shown(HELD_OUT)}  the pictures
Next, with words of your own${shipped ? '' : ' (in lower case)'}:
  npx beit3 retrieve "red apple" ${shown(HELD_OUT)} --checkpoint ${shown('model.safetensors')} --top 5`);
  } finally {
    process.off('SIGINT', onInterrupt);
    model.dispose();
  }
}

/** The model in the package: it says and finds what it can, and then goes on learning. */
async function startOfShipped(
  files: ShippedModel,
  { model, spec }: { readonly model: Retrieval; readonly spec: RetrievalSpec },
  corpus: EmojiCorpus,
  { seed, device, threads }: QuickstartFlags,
): Promise<Start> {
  const shown = await showModel(files, corpus, { seed, device, threads });
  say(`The model in the package, of ${HELD_OUT}, a style that it has never seen (drawn by lot):\n${shownLines(shown)}`);
  const spm = await readFile(files.tokenizer);
  const search = await searchStyle(model, corpus, Tokenizer.fromBytes(spm), HELD_OUT);
  say(
    `It looks for each name among all ${count(search.entries.length)} pictures of ${HELD_OUT}:\n` +
      recallTable(search.recall, search.entries.length),
  );
  return { spm, spec, shipped: { model, shown, search } };
}

function startOfNothing(training: EmojiCorpus['entries'], { width, layers, size, patch }: QuickstartFlags): Start {
  const spm = trainEmojiTokenizer(training).bytes;
  const vocabulary = Tokenizer.fromBytes(spm).vocabularySize;
  return { spm, spec: emojiModelSpec({ width, layers, size, patch, vocabulary }), shipped: null };
}

function beforeLine({ recall: { ir_r1, tr_r1 } }: EmojiSearch): string {
  return `Before it was trained further, R@1 was ${ir_r1.toFixed(1)}% and ${tr_r1.toFixed(1)}%.`;
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
