/**
 * The training stream of the joint model: which task each step takes and the batch it sees. All of it is a function of
 * the seed and the number of the step, so that a run goes on from any step and another program can train on the same.
 */

import { InputError } from '../../../core/errors.js';
import { Generator } from '../../../core/random.js';
import { TASKS, type Task } from '../../config.js';
import type { ImageBatch, TaskBatches, TextBatch } from '../../data/batch.js';
import { frameTexts } from '../../data/loader/collate.js';
import { STATISTICS } from '../../images/preprocess.js';
import { type Augmentation, augmentedPicture, EMOJI_AUGMENTATION, RANDOMS } from '../augment.js';
import { isMirrorable } from '../batches.js';
import type { EmojiCorpus, EmojiEntry } from '../corpus.js';
import type { JointData, JointEmoji, JointPair, JointQuestion } from './data.js';
import { PHASES, phaseOf } from './phases.js';
import { RECIPE } from './recipe.js';

/** Samples in a batch; of nlvr2 each has two pictures. */
export const BATCH: Readonly<Record<Task, number>> = {
  retrieval: 128,
  captioning: 64,
  imageclassification: 64,
  vqav2: 64,
  nlvr2: 32,
};

const LARGEST = Math.max(...Object.values(BATCH));
/** Batches of questions, or of sentences, that are drawn at a time; and samples too many, for safety. */
const DRAWN = 48;
const SPARE = 4;
/** Share of the texts of retrieval that are the plain label; the others hold a tag. */
const LABELS = 0.9;
/** Share of the words of a caption that are hidden. */
const MASKED = 0.6;
/** Tokens by which the lengths in a batch differ, more or less. */
const LENGTH_SPREAD = 2;

/** One step's task and batch. */
export type JointBatch = { readonly [T in Task]: { readonly task: T; readonly batch: TaskBatches[T] } }[Task];

export interface JointBatchOptions {
  readonly seed: number;
  /** Of the whole run; the recipe's by default. */
  readonly steps?: number;
  readonly augmentation?: Augmentation;
}

/** What a batch is made of before pictures are drawn. */
interface Sample<Item> {
  readonly item: Item;
  readonly ids: readonly number[];
}

export class JointBatches {
  readonly #data: JointData;
  /** The emoji that have a class. */
  readonly #classified: readonly JointEmoji[];
  readonly #seed: number;
  readonly #steps: number;
  readonly #augmentation: Augmentation;
  /** The round through its samples in which each task of a phase is, and its batches. */
  readonly #rounds = new Map<string, { readonly round: number; readonly batches: Sample<unknown>[][] }>();

  constructor(data: JointData, { seed, steps = RECIPE.steps, augmentation = EMOJI_AUGMENTATION }: JointBatchOptions) {
    this.#data = data;
    this.#seed = seed;
    this.#steps = steps;
    this.#augmentation = augmentation;
    this.#classified = data.emoji.filter(({ label }) => label !== undefined);
    if (this.#classified.length < LARGEST) {
      throw new InputError(`Batches need ${LARGEST} emoji with a class, and there are ${this.#classified.length}.`);
    }
  }

  /** The batch of a step, counted from 0. */
  at(step: number): JointBatch {
    const { index: phase, step: own } = phaseOf(step, this.#steps);
    const { cycle } = PHASES[phase];
    const place = own % cycle.length;
    const task = cycle[place];
    const among = (steps: readonly Task[]): number => steps.filter((t) => t === task).length;
    // How many steps of the task come before in the phase.
    const k = Math.floor(own / cycle.length) * among(cycle) + among(cycle.slice(0, place));
    const perRound = this.#batchesInRound(task);
    const samples = this.#batchesOf(phase, task, Math.floor(k / perRound))[k % perRound];
    return this.#draw(task, samples, this.#stream((2 * phase + 1) * TASKS.length + TASKS.indexOf(task), k));
  }

  /** The random numbers of one purpose: 2^22 blocks of the generator belong to each. */
  #stream(kind: number, index: number): Generator {
    return new Generator(this.#seed).restore({ seed: this.#seed, counter: (kind * 2 ** 24 + index) * 2 ** 22 });
  }

  #batchesInRound(task: Task): number {
    if (task === 'vqav2' || task === 'nlvr2') return DRAWN;
    return Math.floor(this.#emojiOf(task).length / BATCH[task]);
  }

  #emojiOf(task: Task): readonly JointEmoji[] {
    return task === 'imageclassification' ? this.#classified : this.#data.emoji;
  }

  #batchesOf(phase: 0 | 1, task: Task, round: number): Sample<unknown>[][] {
    const name = `${phase} ${task}`;
    const known = this.#rounds.get(name);
    if (known?.round === round) return known.batches;
    const { statements } = PHASES[phase];
    const batches = this.#plan(task, this.#stream(2 * phase * TASKS.length + TASKS.indexOf(task), round), statements);
    this.#rounds.set(name, { round, batches });
    return batches;
  }

  /**
   * One round through the samples of a task, in batches of texts of about the same length: in batches drawn at random
   * most of what the model reads would be padding.
   */
  #plan(task: Task, generator: Generator, statements: number): Sample<unknown>[][] {
    const size = BATCH[task];
    const count = this.#batchesInRound(task);
    const samples = this.#samples(task, count * size, generator, statements);
    const spread = generator.uniform(samples.length);
    const placed = samples.map((sample, i) => ({ sample, place: sample.ids.length + LENGTH_SPREAD * spread[i] }));
    const sorted = placed.sort((a, b) => a.place - b.place).map(({ sample }) => sample);
    return Array.from(generator.permutation(count), (k) => sorted.slice(k * size, (k + 1) * size));
  }

  /** Questions and sentences are new in each round; of the emoji a few are left out, another few each time. */
  #samples(task: Task, count: number, generator: Generator, statements: number): Sample<unknown>[] {
    if (task === 'vqav2' || task === 'nlvr2') {
      const draw = task === 'vqav2' ? this.#data.drawQuestions : this.#data.drawPairs;
      // What is made of whole blocks may be one short.
      return draw(count + SPARE, generator, statements)
        .slice(0, count)
        .map((item) => ({ item, ids: item.ids }));
    }
    const emoji = this.#emojiOf(task);
    const random = generator.uniform(2 * count);
    return Array.from(generator.permutation(emoji.length).subarray(0, count), (index, i) => {
      const item = emoji[index];
      const ids = task === 'retrieval' ? searchText(item.texts, random[2 * i], random[2 * i + 1]) : item.texts[0];
      return { item, ids };
    });
  }

  #draw(task: Task, samples: readonly Sample<unknown>[], generator: Generator): JointBatch {
    switch (task) {
      case 'retrieval': {
        const entries = anyStyle(samples as readonly Sample<JointEmoji>[], generator);
        const imageIds = entries.map(({ image }) => image);
        return { task, batch: { ...this.#pictures(entries, generator), ...textsOf(samples), imageIds } };
      }
      case 'captioning': {
        const entries = anyStyle(samples as readonly Sample<JointEmoji>[], generator);
        const imageIds = entries.map(({ image }) => image);
        const texts = textsOf(samples);
        const pictures = this.#pictures(entries, generator);
        return { task, batch: { ...pictures, ...texts, ...this.#masked(texts, generator), imageIds } };
      }
      case 'imageclassification': {
        const emoji = samples as readonly Sample<JointEmoji>[];
        const pictures = this.#pictures(anyStyle(emoji, generator), generator);
        toImageNet(pictures.images, pictures.side);
        return {
          task,
          batch: { ...pictures, labels: Int32Array.from(emoji, ({ item }) => item.label as number), targets: null },
        };
      }
      case 'vqav2': {
        const questions = (samples as readonly Sample<JointQuestion>[]).map(({ item }) => item);
        const { answers } = this.#data;
        const scores = new Float32Array(questions.length * answers);
        questions.forEach(({ answer }, b) => {
          scores[b * answers + answer] = 1;
        });
        const pictures = this.#pictures(
          questions.map(({ entry }) => entry),
          generator,
        );
        const questionIds = questions.map((_, b) => b);
        return { task, batch: { ...pictures, ...textsOf(samples), scores, questionIds } };
      }
      case 'nlvr2': {
        const pairs = (samples as readonly Sample<JointPair>[]).map(({ item }) => item);
        const first = this.#pictures(
          pairs.map((pair) => pair.first),
          generator,
        );
        const second = this.#pictures(
          pairs.map((pair) => pair.second),
          generator,
        );
        return {
          task,
          batch: {
            ...first,
            ...textsOf(samples),
            images2: second.images,
            files: [...first.files, ...second.files],
            labels: Int32Array.from(pairs, ({ isTrue }) => (isTrue ? 1 : 0)),
            identifiers: pairs.map((_, b) => String(b)),
          },
        };
      }
    }
  }

  #pictures(entries: readonly EmojiEntry[], generator: Generator): ImageBatch {
    return variedPictures(this.#data.corpus, entries, generator, this.#augmentation);
  }

  /** Hides words at random, the end among them, and at least one of each text. */
  #masked(
    { ids, padding, length }: TextBatch,
    generator: Generator,
  ): Pick<TaskBatches['captioning'], 'masked' | 'predict' | 'targets'> {
    const masked = ids.slice();
    const predict: number[] = [];
    const random = generator.uniform(ids.length);
    for (let row = 0; row < ids.length; row += length) {
      const end = row + length - padding.subarray(row, row + length).reduce((n, p) => n + p, 0);
      const sure = row + 1 + Math.floor(random[row] * (end - row - 1));
      for (let at = row + 1; at < end; at++) {
        if (at !== sure && random[at] >= MASKED) continue;
        masked[at] = this.#data.special.maskId;
        predict.push(at);
      }
    }
    return { masked, predict: Int32Array.from(predict), targets: Int32Array.from(predict, (at) => ids[at]) };
  }
}

/** Pictures of entries as training shows them, -1 to 1. */
export function variedPictures(
  corpus: EmojiCorpus,
  entries: readonly EmojiEntry[],
  generator: Generator,
  augmentation: Augmentation = EMOJI_AUGMENTATION,
): ImageBatch {
  const S = corpus.size;
  const images = new Float32Array(entries.length * 3 * S * S);
  const random = generator.uniform(entries.length * RANDOMS);
  entries.forEach((entry, b) => {
    const numbers = random.subarray(b * RANDOMS, (b + 1) * RANDOMS);
    augmentedPicture(corpus.image(entry.image), S, numbers, augmentation, isMirrorable(entry), images, b * 3 * S * S);
  });
  return { size: entries.length, side: S, images, files: entries.map(({ style, label }) => `${style}: ${label}`) };
}

/** The label, the label and a tag, or a tag alone. */
export function searchText(texts: JointEmoji['texts'], kind: number, tag: number): readonly number[] {
  if (kind < LABELS || texts.length < 2) return texts[0];
  const other = texts[1 + Math.floor(tag * (texts.length - 1))];
  return kind < (1 + LABELS) / 2 ? [...texts[0], ...other] : other;
}

/** Texts of samples, framed. */
function textsOf(samples: readonly Sample<unknown>[]): TextBatch {
  return frameTexts(samples.map(({ ids }) => ids));
}

/** Each emoji in one of its styles. */
export function anyStyle(samples: readonly Sample<JointEmoji>[], generator: Generator): EmojiEntry[] {
  const random = generator.uniform(samples.length);
  return samples.map(({ item: { entries } }, b) => entries[Math.floor(random[b] * entries.length)]);
}

/** Pictures [B, 3, S, S] from -1 to 1, changed to the statistics that image classification has. */
export function toImageNet(images: Float32Array, side: number): void {
  const { mean, deviation } = STATISTICS.imagenet;
  const plane = side * side;
  for (let i = 0; i < images.length; i++) {
    const c = Math.floor(i / plane) % 3;
    images[i] = (0.5 + 0.5 * images[i] - mean[c]) / deviation[c];
  }
}
