/** The files that the quickstart leaves behind; each appears whole or not at all. Needs Node. */

import { rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ensureFolder } from '../../checkpoints/sink.js';
import { InputError, messageOf } from '../../core/errors.js';
import { Generator } from '../../core/random.js';
import { type Card, type ContactRow, contactSheet } from './contactSheet.js';
import type { EmojiCorpus } from './corpus.js';
import { labelSlug } from './join.js';
import type { EmojiSearch } from './search.js';
import type { Shown } from './show.js';
import { cleanText } from './text.js';

/** Makes a folder with all above it. Throws InputError where that cannot be. */
export async function makeFolder(path: string): Promise<void> {
  await ensureFolder(path).catch((error: unknown) => {
    throw new InputError(`The folder ${path} cannot be made (${messageOf(error)}); choose another one with --output.`);
  });
}

export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, content);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true }).catch(() => {});
    throw new InputError(`${path} cannot be written (${messageOf(error)}); choose another folder with --output.`);
  }
}

/** Writes every picture of a search as a PNG file of its label's name. */
export async function writePictures(folder: string, corpus: EmojiCorpus, search: EmojiSearch): Promise<void> {
  await makeFolder(folder);
  const taken = new Set<string>();
  for (const { label, hexcode, image } of search.entries) {
    // Labels that differ only in signs, as the keycaps do.
    const name = taken.has(labelSlug(label)) ? `${labelSlug(label)}-${hexcode.toLowerCase()}` : labelSlug(label);
    taken.add(name);
    await writeWhole(join(folder, `${name}.png`), await corpus.png(image));
  }
}

const ROWS = 24;
const PICTURES = 5;

/** The contact sheet of ROWS queries, drawn by lot: nobody chose the ones that went well. */
export async function sheetOf(
  corpus: EmojiCorpus,
  search: EmojiSearch,
  seed: number,
  summary: string[],
  shown?: Shown,
): Promise<string> {
  const rows: ContactRow[] = [];
  for (const query of new Generator(seed).permutation(search.entries.length).subarray(0, ROWS)) {
    const { label, image } = search.entries[query];
    const found = search.best(query, PICTURES).map(async ({ index, similarity }) => ({
      picture: await corpus.dataUri(search.entries[index].image),
      label: search.entries[index].label,
      similarity,
      correct: index === query,
    }));
    rows.push({
      query: label,
      wanted: await corpus.dataUri(image),
      rank: search.rank(query),
      found: await Promise.all(found),
    });
  }
  const cards = shown && (await cardsOf(corpus, shown));
  return contactSheet({ title: 'BEiT-3 looks for emoji', summary, cards, rows });
}

function cardsOf(corpus: EmojiCorpus, { pictures, questions, pairs }: Shown): Promise<Card[]> {
  const cards = [
    ...pictures.map(({ entry, caption, subgroup }) => ({
      entries: [entry],
      text: cleanText(entry.label),
      said: [caption, subgroup],
    })),
    ...questions.map(({ entry, question, answer }) => ({ entries: [entry], text: question, said: [answer] })),
    ...pairs.map(({ left, right, sentence, judgement }) => ({
      entries: [left, right],
      text: sentence,
      said: [judgement],
    })),
  ];
  return Promise.all(
    cards.map(async ({ entries, text, said }) => ({
      pictures: await Promise.all(entries.map(({ image }) => corpus.dataUri(image))),
      ...{ text, said },
    })),
  );
}
