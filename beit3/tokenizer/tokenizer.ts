/** The tokenizer of BEiT-3: a SentencePiece unigram model with the token numbers of XLM-RoBERTa. */

import { InputError } from '../../core/errors.js';
import { type ByteSource, readBytes, sourceName } from '../readBytes.js';
import { Charsmap } from './charsmap.js';
import {
  MAX_MODEL_BYTES,
  type NormalizerRules,
  PieceType,
  readModelFile,
  type SentencePieceModel,
} from './modelFile.js';
import { Normalizer } from './normalizer.js';
import { ByteTrie } from './trie.js';
import { UnigramSegmenter } from './unigram.js';

export interface EncodeOptions {
  /** Put `<s>` before and `</s>` behind; off by default. */
  addSpecial?: boolean;
  /** Cut the text so that at most so many ids come out, special ones included. */
  maxLength?: number;
  /** Fill up with `<pad>` to maxLength; off by default. */
  pad?: boolean;
}

export interface Encoding {
  ids: number[];
  /** The text of each id; a space is U+2581, and an unknown piece shows the characters that it stands for. */
  pieces: string[];
}

/** A text as the model takes it: `<s>` pieces `</s>` `<pad>`... */
export interface ModelText {
  /** [maxLength]. */
  ids: Int32Array;
  /** [maxLength], 1 = padding. */
  paddingMask: Uint8Array;
  /** Ids before the padding. */
  length: number;
  /** Pieces were left out because the text is longer than maxLength - 2. */
  truncated: boolean;
}

/** Several texts, row by row; [N, maxLength]. */
export interface ModelTexts {
  ids: Int32Array;
  paddingMask: Uint8Array;
  lengths: number[];
  truncated: boolean[];
}

const UNKNOWN_PIECE_ID = 3;
const SPECIAL_NAMES = ['<s>', '<pad>', '</s>', '<unk>'];
/** Piece i of the file is token i + 1, since tokens 0 to 3 are the special ones and the file has three of them. */
const OFFSET = 1;
const WHAT = 'a SentencePiece model';
const SPACE_SYMBOL = '\u2581';

const utf8 = new TextDecoder('utf-8', { ignoreBOM: true });
const strictUtf8 = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });
const encoder = new TextEncoder();

/**
 * Cuts texts into pieces and numbers them as the official BEiT-3 does: token = piece + 1, with `<s>` 0, `<pad>` 1,
 * `</s>` 2, `<unk>` 3 and `<mask>` = pieceCount + 1. Text such as `<mask>` inside a sentence is plain text.
 */
export class Tokenizer {
  readonly startId = 0;
  readonly padId = 1;
  readonly endId = 2;
  readonly unknownId = UNKNOWN_PIECE_ID;
  readonly maskId: number;
  /** Pieces in the file; 64,000 in beit3.spm. */
  readonly pieceCount: number;
  /** Ids are below this; a word table needs at least so many rows. */
  readonly vocabularySize: number;

  private readonly normalizer: Normalizer;
  private readonly denormalizer?: Normalizer;
  private readonly segmenter: UnigramSegmenter;
  /** Texts of the pieces that were asked for. */
  private readonly texts: (string | undefined)[] = [];

  private constructor(
    private readonly model: SentencePieceModel,
    name: string,
  ) {
    this.pieceCount = model.pieceCount;
    this.maskId = model.pieceCount + 1;
    this.vocabularySize = model.pieceCount + 2;
    const trieOf = (...types: number[]): ByteTrie => {
      const keys = Uint32Array.from(model.types.keys()).filter((id) => types.includes(model.types[id]));
      const trie = ByteTrie.build(model.bytes, model.starts, model.ends, keys);
      if (typeof trie === 'number') throw new InputError(`${name} is damaged: its piece ${trie} is there twice.`);
      return trie;
    };
    const { userDefined } = PieceType;
    const kept = model.types.includes(userDefined) ? trieOf(userDefined) : undefined;
    this.normalizer = normalizerOf(model.normalizer, name, kept);
    if (model.denormalizer !== undefined) this.denormalizer = normalizerOf(model.denormalizer, name);
    this.segmenter = new UnigramSegmenter(model, trieOf(PieceType.normal, userDefined, PieceType.unused));
  }

  /**
   * Takes the bytes of a `.spm` file; `name` is how messages call it.
   * Throws InputError for what is no SentencePiece unigram model.
   */
  static fromBytes(bytes: Uint8Array, name = 'the tokenizer'): Tokenizer {
    return new Tokenizer(readModelFile(bytes, name), name);
  }

  /** Loads a `.spm` file from a path, an address or a Blob. Throws InputError where there is no unigram model. */
  static async load(source: ByteSource): Promise<Tokenizer> {
    const bytes = await readBytes(source, { what: WHAT, maxBytes: MAX_MODEL_BYTES });
    return Tokenizer.fromBytes(bytes, sourceName(source, 'the tokenizer'));
  }

  /** Cuts `text` into pieces. Takes any string; an empty one has no pieces. */
  encode(text: string, options: EncodeOptions = {}): Encoding {
    const { addSpecial = false, maxLength, pad = false } = options;
    const room = addSpecial ? 2 : 0;
    if (maxLength !== undefined) requireLength(maxLength, room);
    else if (pad) throw new InputError('encode can only pad to a maxLength; give one.');

    const ids: number[] = [];
    const pieces: string[] = [];
    this.segment(text, ids, pieces);
    if (maxLength !== undefined && ids.length > maxLength - room) {
      ids.length = maxLength - room;
      pieces.length = maxLength - room;
    }
    if (addSpecial) {
      ids.unshift(this.startId);
      pieces.unshift(SPECIAL_NAMES[this.startId]);
      ids.push(this.endId);
      pieces.push(SPECIAL_NAMES[this.endId]);
    }
    while (pad && maxLength !== undefined && ids.length < maxLength) {
      ids.push(this.padId);
      pieces.push(SPECIAL_NAMES[this.padId]);
    }
    return { ids, pieces };
  }

  /**
   * Frames `text` for the model, as the official data sets do: cut to maxLength - 2 pieces, between `<s>` and `</s>`,
   * padded to maxLength. Throws InputError for a text without pieces, as an empty one.
   */
  encodeForModel(text: string, maxLength: number): ModelText {
    const { ids, paddingMask, lengths, truncated } = this.encodeBatchForModel([text], maxLength);
    return { ids, paddingMask, length: lengths[0], truncated: truncated[0] };
  }

  /** encodeForModel for several texts, one row each. */
  encodeBatchForModel(texts: readonly string[], maxLength: number): ModelTexts {
    requireLength(maxLength, 3);
    const ids = new Int32Array(texts.length * maxLength).fill(this.padId);
    const paddingMask = new Uint8Array(texts.length * maxLength).fill(1);
    const lengths: number[] = [];
    const truncated: boolean[] = [];
    texts.forEach((text, row) => {
      const tokens: number[] = [];
      this.segment(text, tokens);
      if (tokens.length === 0) {
        throw new InputError(`The text ${JSON.stringify(text.slice(0, 40))} has no words; give at least one.`);
      }
      truncated.push(tokens.length > maxLength - 2);
      if (tokens.length > maxLength - 2) tokens.length = maxLength - 2;
      const length = tokens.length + 2;
      lengths.push(length);
      const at = row * maxLength;
      ids[at] = this.startId;
      ids.set(tokens, at + 1);
      ids[at + length - 1] = this.endId;
      paddingMask.fill(0, at, at + length);
    });
    return { ids, paddingMask, lengths, truncated };
  }

  /**
   * The text of `ids`. Special ones are left out, or with skipSpecial false written by their names; `<unk>` is always
   * written the way the model file says, usually ' \u2047 '. Throws InputError for an id that the tokenizer does not have.
   */
  decode(ids: ArrayLike<number>, options: { skipSpecial?: boolean } = {}): string {
    const { skipSpecial = true } = options;
    const { model } = this;
    const { addDummyPrefix, removeExtraWhitespaces } = model.normalizer;
    let text = '';
    let atStart = true;
    let droppedSpace = false;
    let bytes: number[] = [];
    const flushBytes = (): void => {
      if (bytes.length > 0) text += decodeBytePieces(bytes);
      bytes = [];
    };
    for (let i = 0; i < ids.length; i++) {
      const id = ids[i];
      if (!Number.isInteger(id) || id < 0 || id >= this.vocabularySize) {
        throw new InputError(`The tokenizer has no token ${id}; its ids are 0 to ${this.vocabularySize - 1}.`);
      }
      const special = id !== UNKNOWN_PIECE_ID && (id < SPECIAL_NAMES.length || id === this.maskId);
      const piece = id - OFFSET;
      const type = special ? PieceType.control : id === UNKNOWN_PIECE_ID ? PieceType.unknown : model.types[piece];
      if (special && skipSpecial) continue;
      if (type === PieceType.byte) {
        bytes.push(model.bytePieces.indexOf(piece));
        continue;
      }
      flushBytes();
      if (droppedSpace || text !== '') atStart = false;
      droppedSpace = false;
      if (type === PieceType.unknown) text += model.unknownSurface;
      else if (type === PieceType.control) text += skipSpecial ? '' : this.pieceOf(id);
      else {
        let surface = this.pieceText(piece);
        // The space that encoding put before the first word.
        if (atStart && (addDummyPrefix || removeExtraWhitespaces) && surface.startsWith(SPACE_SYMBOL)) {
          surface = surface.slice(1);
          droppedSpace = !removeExtraWhitespaces;
        }
        text += surface.replaceAll(SPACE_SYMBOL, ' ');
      }
    }
    flushBytes();
    return this.denormalizer === undefined ? text : utf8.decode(this.denormalizer.normalize(encoder.encode(text)));
  }

  /** `decode` for several rows. */
  decodeBatch(rows: readonly ArrayLike<number>[], options: { skipSpecial?: boolean } = {}): string[] {
    return rows.map((row) => this.decode(row, options));
  }

  /** The piece of a token, `<s>` for 0. Throws InputError for an id that the tokenizer does not have. */
  pieceOf(id: number): string {
    if (!Number.isInteger(id) || id < 0 || id >= this.vocabularySize) {
      throw new InputError(`The tokenizer has no token ${id}; its ids are 0 to ${this.vocabularySize - 1}.`);
    }
    return SPECIAL_NAMES[id] ?? (id === this.maskId ? '<mask>' : this.pieceText(id - OFFSET));
  }

  private pieceText(piece: number): string {
    const { bytes, starts, ends } = this.model;
    return (this.texts[piece] ??= utf8.decode(bytes.subarray(starts[piece], ends[piece])));
  }

  /** Appends the tokens of `text` to `ids`, and what they stand for to `pieces`. */
  private segment(text: string, ids: number[], pieces?: string[]): void {
    const { model } = this;
    const normalized = this.normalizer.normalize(encoder.encode(text));
    // A run of unknown characters is one unknown piece.
    let unknownFrom = 0;
    let unknownTo = 0;
    const flushUnknown = (): void => {
      if (unknownTo === unknownFrom) return;
      ids.push(UNKNOWN_PIECE_ID);
      pieces?.push(utf8.decode(normalized.subarray(unknownFrom, unknownTo)));
      unknownFrom = unknownTo;
    };
    this.segmenter.segment(normalized, (start, end, piece) => {
      if (piece === model.unknownId && !model.byteFallback) {
        if (unknownTo === unknownFrom) unknownFrom = start;
        unknownTo = end;
        return;
      }
      flushUnknown();
      if (piece !== model.unknownId) {
        ids.push(tokenOf(piece));
        pieces?.push(this.pieceText(piece));
        return;
      }
      for (let i = start; i < end; i++) {
        const byte = model.bytePieces[normalized[i]];
        ids.push(tokenOf(byte));
        pieces?.push(this.pieceText(byte));
      }
    });
    flushUnknown();
  }
}

function tokenOf(piece: number): number {
  return piece === 0 ? UNKNOWN_PIECE_ID : piece + OFFSET;
}

function normalizerOf(rules: NormalizerRules, name: string, kept?: ByteTrie): Normalizer {
  const charsmap = rules.charsmap.length === 0 ? undefined : Charsmap.read(rules.charsmap);
  if (typeof charsmap === 'string') throw new InputError(`${name} is damaged: ${charsmap}; get the file again.`);
  return new Normalizer(rules, charsmap, kept);
}

function requireLength(maxLength: number, least: number): void {
  if (Number.isInteger(maxLength) && maxLength >= least) return;
  throw new InputError(`The maxLength of a text must be a whole number of at least ${least}, not ${maxLength}.`);
}

/** The characters that byte pieces spell; each byte that belongs to none becomes U+FFFD, as in SentencePiece. */
function decodeBytePieces(bytes: number[]): string {
  let text = '';
  for (let i = 0; i < bytes.length; ) {
    const first = bytes[i];
    const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    let character = '\ufffd';
    let taken = 1;
    try {
      character = strictUtf8.decode(Uint8Array.from(bytes.slice(i, i + length)));
      taken = length;
    } catch {
      // Not a character: this byte alone is replaced.
    }
    text += character;
    i += taken;
  }
  return text;
}
