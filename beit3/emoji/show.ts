/** What the shipped model says of a few pictures that nobody chose: captions, classes, answers and judgements. */

import { Generator } from '../../core/random.js';
import { pipeline } from '../pipeline/index.js';
import type { ShippedModel } from '../zoo/shipped.js';
import { emojiBenchmark, nlvr2Examples, vqaExamples } from './benchmark/index.js';
import type { EmojiCorpus, EmojiEntry } from './corpus.js';
import { cleanText } from './text.js';

/** Something that the model said, beside what is right. */
export interface Said {
  readonly said: string;
  readonly correct: boolean;
}

export interface ShownPicture {
  readonly entry: EmojiEntry;
  readonly caption: Said;
  readonly subgroup: Said;
}

export interface ShownQuestion {
  readonly entry: EmojiEntry;
  readonly question: string;
  readonly answer: Said;
}

export interface ShownPair {
  readonly left: EmojiEntry;
  readonly right: EmojiEntry;
  readonly sentence: string;
  readonly judgement: Said;
}

export interface Shown {
  readonly pictures: readonly ShownPicture[];
  readonly questions: readonly ShownQuestion[];
  readonly pairs: readonly ShownPair[];
}

export interface ShowOptions {
  /** Draws the lots. */
  readonly seed: number;
  readonly device: string;
  readonly threads: number | undefined;
  /** Pictures, questions and pairs. */
  readonly counts?: readonly [number, number, number];
}

/** Asks the pipelines of four tasks about pictures of the style that the model never saw. */
export async function showModel(
  { checkpoint, tokenizer, classes, answers }: ShippedModel,
  corpus: EmojiCorpus,
  { seed, device, threads, counts: [pictures, questions, pairs] = [10, 6, 6] }: ShowOptions,
): Promise<Shown> {
  const { test } = emojiBenchmark(corpus);
  const options = { checkpoint, tokenizer, device, threads };
  const decoded = ({ image }: EmojiEntry) => ({ width: corpus.size, height: corpus.size, data: corpus.image(image) });

  const drawn = Array.from(new Generator(seed).permutation(test.length).subarray(0, pictures), (i) => test[i]);
  const shownPictures: ShownPicture[] = [];
  using caption = await pipeline('caption', options);
  using classify = await pipeline('classify', { ...options, labels: classes });
  for (const entry of drawn) {
    const { text } = await caption.run(decoded(entry));
    const [{ label }] = await classify.run(decoded(entry), { top: 1 });
    shownPictures.push({
      entry,
      caption: { said: text, correct: text === cleanText(entry.label) },
      subgroup: { said: label, correct: label === entry.subgroup },
    });
  }

  using vqa = await pipeline('vqa', { ...options, labels: answers });
  const shownQuestions: ShownQuestion[] = [];
  // Of a longer list, so that its end, made to fit, is seldom among them.
  for (const { entry, question, answer } of vqaExamples(test, { seed, count: 200 }).slice(0, questions)) {
    const [{ answer: said }] = await vqa.run(decoded(entry), question, { top: 1 });
    shownQuestions.push({ entry, question, answer: { said, correct: said === answer } });
  }

  using nlvr2 = await pipeline('nlvr2', options);
  const shownPairs: ShownPair[] = [];
  for (const { left, right, sentence, label } of nlvr2Examples(test, { seed, count: 200 }).slice(0, pairs)) {
    const { answer } = await nlvr2.run(decoded(left), decoded(right), sentence);
    shownPairs.push({
      ...{ left, right, sentence },
      judgement: { said: answer ? 'true' : 'false', correct: answer === label },
    });
  }
  return { pictures: shownPictures, questions: shownQuestions, pairs: shownPairs };
}

/** As lines of text: what is right is marked. */
export function shownLines({ pictures, questions, pairs }: Shown): string {
  const name = ({ label }: EmojiEntry): string => cleanText(label);
  const rows: [string, string[][]][] = [
    [
      'picture of / caption / class',
      pictures.map(({ entry, caption, subgroup }) => [name(entry), marked(caption), marked(subgroup)]),
    ],
    [
      'picture of / question / answer',
      questions.map(({ entry, question, answer }) => [name(entry), question, marked(answer)]),
    ],
    [
      'pictures of / sentence / judged',
      pairs.map(({ left, right, sentence, judgement }) => [
        `${name(left)} | ${name(right)}`,
        sentence,
        marked(judgement),
      ]),
    ],
  ];
  return rows.map(([head, lines]) => [`  ${head}`, ...columns(lines)].join('\n')).join('\n');
}

/** A tick before what is right, a cross before what is wrong. */
export function marked({ said, correct }: Said): string {
  return `${correct ? '\u2713' : '\u2717'} ${said}`;
}

const WIDEST = 58;

function columns(rows: readonly (readonly string[])[]): string[] {
  const cut = (text: string) => (text.length > WIDEST ? `${text.slice(0, WIDEST - 3)}...` : text);
  const cells = rows.map((row) => row.map(cut));
  const widths = (cells[0] ?? []).map((_, c) => Math.max(...cells.map((row) => row[c].length)));
  return cells.map((row) => `    ${row.map((cell, c) => cell.padEnd(widths[c])).join('  ')}`.trimEnd());
}
