/** Batches of the pretraining study, each a function of the seed and of its number. */
import { Generator } from '../../../core/random.js';
import type { ImageBatch, RetrievalBatch } from '../../data/batch.js';
import { frameTexts } from '../../data/loader/collate.js';
import type { MaskedImages, MaskedTexts, PretrainBatch } from '../../pretrain/batch.js';
import { maskedTexts } from '../../pretrain/loader.js';
import { blockMask } from '../../pretrain/masks.js';
import type { EmojiEntry } from '../corpus.js';
import { anyStyle, searchText, variedPictures } from '../zoo/batches.js';
import type { JointData, JointEmoji } from '../zoo/data.js';
import { RECIPE } from './recipe.js';

/** Tokens of a text alone, less `<s>` and `</s>`: names and tags one after the other until it is full. */
const TEXT_LENGTH = 22;
/** Tags that may follow the name in a pair. */
const MOST_TAGS = 2;

const PURPOSES = ['pictures', 'pretraining', 'retrieval', 'classification', 'tuning', 'labels'] as const;

export class StudyBatches {
  readonly #entries: readonly EmojiEntry[];
  /** The emoji in the styles that fine-tuning shows. */
  readonly #labelled: readonly JointEmoji[];
  readonly #classes = new Map<number, JointEmoji[]>();

  /** Pretraining shows all pictures and pairs of training, fine-tuning the labelled ones, which the seed draws. */
  constructor(
    private readonly data: JointData,
    /** Of the classes, as token ids. */
    private readonly names: readonly (readonly number[])[],
    private readonly seed: number,
    { styles, share }: { readonly styles: readonly string[]; readonly share: number },
  ) {
    this.#entries = data.emoji.flatMap(({ entries }) => entries);
    const labelled = data.emoji
      .map((emoji) => ({ ...emoji, entries: emoji.entries.filter(({ style }) => styles.includes(style)) }))
      .filter(({ entries }) => entries.length > 0);
    this.#labelled = some(labelled, Math.round(share * labelled.length), this.#stream('labels', 0));
    for (const emoji of this.#labelled) {
      if (emoji.label === undefined) continue;
      const same = this.#classes.get(emoji.label);
      if (same) same.push(emoji);
      else this.#classes.set(emoji.label, [emoji]);
    }
  }

  /** 2^22 blocks of the generator belong to each batch. */
  #stream(purpose: (typeof PURPOSES)[number], index: number): Generator {
    const counter = (PURPOSES.indexOf(purpose) * 2 ** 24 + index) * 2 ** 22;
    return new Generator(this.seed).restore({ seed: this.seed, counter });
  }

  /** Pictures of any emoji, for the tokenizer. */
  pictures(index: number, size: number): ImageBatch {
    const random = this.#stream('pictures', index);
    return this.#pictures(this.#draw(size, random), random);
  }

  pretraining(index: number): PretrainBatch {
    const { images, texts, pairs, textMask } = RECIPE.pretraining;
    const random = this.#stream('pretraining', index);
    return {
      images: this.#masked(this.#pictures(this.#draw(images, random), random), random),
      texts: this.#texts(
        Array.from({ length: texts }, () => this.#longText(random)),
        textMask,
        random,
      ),
      pairs: this.#pairs(this.data.emoji, pairs, random),
    };
  }

  /** Pairs as in pretraining, of given emoji: for measuring. */
  #pairs(from: readonly JointEmoji[], size: number, random: Generator): PretrainBatch['pairs'] {
    const emoji = some(from, size, random);
    const pictures = this.#pictures(styled(emoji, random), random);
    const texts = emoji.map(({ texts: [name, ...tags] }) => {
      const count = random.integers(1, 0, MOST_TAGS + 1)[0];
      return [name, ...some(tags, count, random)].flat();
    });
    return { images: this.#masked(pictures, random), texts: this.#texts(texts, RECIPE.pretraining.pairMask, random) };
  }

  /** Masked pictures, texts and pairs of emoji that are measured, in pictures as they are drawn. */
  measured(emoji: readonly JointEmoji[], index: number): PretrainBatch {
    const { pairs: size, textMask } = RECIPE.pretraining;
    const random = this.#stream('pretraining', 2 ** 23 + index);
    const texts = some(emoji, size, random).map(({ texts }) => texts.flat().slice(0, TEXT_LENGTH));
    const pairs = this.#pairs(emoji, size, random);
    return { images: pairs?.images ?? null, texts: this.#texts(texts, textMask, random), pairs };
  }

  /** Pairs of a picture and, mostly, the plain name; no emoji comes twice. `tuning` has the pairs of pretraining. */
  retrieval(index: number, purpose: 'retrieval' | 'tuning'): RetrievalBatch {
    const { batch: size } = purpose === 'tuning' ? RECIPE.tuning : RECIPE.finetuning;
    const random = this.#stream(purpose, index);
    const emoji = some(purpose === 'tuning' ? this.data.emoji : this.#labelled, size, random);
    const entries = styled(emoji, random);
    const numbers = random.uniform(2 * size);
    const texts = emoji.map(({ texts }, i) => searchText(texts, numbers[2 * i], numbers[2 * i + 1]));
    return { ...this.#pictures(entries, random), ...frameTexts(texts), imageIds: entries.map(({ image }) => image) };
  }

  /** Pictures and the names of their classes; no class comes twice, so that each name fits one picture. */
  classification(index: number): RetrievalBatch {
    const random = this.#stream('classification', index);
    const classes = some([...this.#classes], RECIPE.finetuning.batch, random);
    const emoji = classes.map(([, members]) => members[random.integers(1, 0, members.length)[0]]);
    const pictures = this.#pictures(styled(emoji, random), random);
    return {
      ...pictures,
      ...frameTexts(classes.map(([name]) => this.names[name])),
      imageIds: classes.map(([id]) => id),
    };
  }

  #draw(size: number, random: Generator): EmojiEntry[] {
    return some(this.#entries, size, random);
  }

  #pictures(entries: readonly EmojiEntry[], random: Generator): ImageBatch {
    return variedPictures(this.data.corpus, entries, random);
  }

  #masked(pictures: ImageBatch, random: Generator): MaskedImages {
    const { hidden: count, block: least } = RECIPE.pretraining;
    const grid = RECIPE.size / RECIPE.patch;
    const masked = new Uint8Array(pictures.size * grid * grid);
    for (let b = 0; b < pictures.size; b++) masked.set(blockMask({ grid, count, least }, random), b * grid * grid);
    const predictPatches = Int32Array.from([...masked.keys()].filter((i) => masked[i] === 1));
    return { ...pictures, masked, predictPatches };
  }

  /** Names and tags of emoji drawn by chance. */
  #longText(random: Generator): number[] {
    const ids: number[] = [];
    while (ids.length < TEXT_LENGTH) {
      const { texts } = this.data.emoji[random.integers(1, 0, this.data.emoji.length)[0]];
      ids.push(...texts.flat());
    }
    return ids.slice(0, TEXT_LENGTH);
  }

  #texts(rows: readonly (readonly number[])[], share: number, random: Generator): MaskedTexts {
    const { maskId } = this.data.special;
    const vocabulary = { size: maskId, maskId };
    return maskedTexts(
      rows.map((tokens) => ({ tokens })),
      share,
      { vocabulary },
      random,
    );
  }
}

/** `count` of the items, none twice; all where there are no more. */
function some<T>(items: readonly T[], count: number, random: Generator): T[] {
  return Array.from(random.permutation(items.length).subarray(0, count), (i) => items[i]);
}

function styled(emoji: readonly JointEmoji[], random: Generator): EmojiEntry[] {
  return anyStyle(
    emoji.map((item) => ({ item, ids: [] })),
    random,
  );
}
