/** Reads a SentencePiece `.spm` file: the pieces, and how texts are normalised before they are cut into pieces. */

import { InputError } from '../../core/errors.js';
import { type Field, readFields, WireError } from './protobuf.js';

/** What kind of piece it is, as the file numbers them. */
export const PieceType = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 } as const;

/** How texts are normalised; the names are those of SentencePiece's NormalizerSpec. */
export interface NormalizerRules {
  /** Double-array trie and replacement strings, empty where nothing is replaced. */
  charsmap: Uint8Array;
  addDummyPrefix: boolean;
  removeExtraWhitespaces: boolean;
  escapeWhitespaces: boolean;
  treatWhitespaceAsSuffix: boolean;
}

export interface SentencePieceModel {
  /** A copy of the file; piece i is bytes[starts[i] .. ends[i]] in UTF-8. */
  bytes: Uint8Array;
  pieceCount: number;
  starts: Uint32Array;
  ends: Uint32Array;
  /** Log probabilities. */
  scores: Float32Array;
  /** PieceType of each piece. */
  types: Uint8Array;
  unknownId: number;
  /** What an unknown piece is decoded to. */
  unknownSurface: string;
  byteFallback: boolean;
  /** The piece of each byte value where byteFallback is on, else empty. */
  bytePieces: Int32Array;
  normalizer: NormalizerRules;
  /** Applied to decoded text, where the file has such rules. */
  denormalizer?: NormalizerRules;
}

/** Far above any tokenizer in use: the largest have about 6 MB, 260,000 pieces, and pieces of 48 bytes. */
export const MAX_MODEL_BYTES = 64 * 2 ** 20;
const MAX_PIECES = 2 ** 21;
/** Matching a piece takes time in its length at every character of a text. */
const MAX_PIECE_BYTES = 1024;

const MODEL_TYPES = ['unigram', 'unigram', 'BPE', 'word', 'character'];
const DEFAULT_UNKNOWN_SURFACE = ' \u2047 ';

/** What a message shows before it is checked. */
interface Draft {
  starts: number[];
  ends: number[];
  scores: number[];
  types: number[];
  modelType: number;
  byteFallback: boolean;
  treatWhitespaceAsSuffix: boolean;
  unknownSurface: string;
  normalizer: NormalizerRules;
  denormalizer?: NormalizerRules;
}

/** Parses and checks a model file; `name` is how messages call it. Throws InputError for anything but a unigram model. */
export function readModelFile(source: Uint8Array, name: string): SentencePieceModel {
  if (source.length === 0) throw new InputError(`${name} is empty; give a SentencePiece model such as beit3.spm.`);
  if (source.length > MAX_MODEL_BYTES) {
    throw new InputError(`${name} is too large for a SentencePiece model (${source.length} bytes).`);
  }
  const bytes = source.slice();
  const draft = parse(bytes, name);
  if (draft.modelType !== 1) {
    const kind = MODEL_TYPES[draft.modelType] ?? `number ${draft.modelType}`;
    throw new InputError(`${name} is a SentencePiece model of the ${kind} type; BEiT-3 uses a unigram model.`);
  }
  return check(bytes, draft, name);
}

function damaged(name: string, why: string): InputError {
  return new InputError(
    `${name} is not a SentencePiece model or is damaged (${why}); give a unigram model such as beit3.spm.`,
  );
}

function parse(bytes: Uint8Array, name: string): Draft {
  const draft: Draft = {
    starts: [],
    ends: [],
    scores: [],
    types: [],
    modelType: 1,
    byteFallback: false,
    treatWhitespaceAsSuffix: false,
    unknownSurface: DEFAULT_UNKNOWN_SURFACE,
    normalizer: defaultRules(),
  };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    readFields(bytes, 0, bytes.length, (field) => {
      if (field.wire !== 2) return;
      if (field.number === 1) readPiece(bytes, view, field, draft);
      else if (field.number === 2) readTrainerSpec(bytes, field, draft);
      else if (field.number === 3) readNormalizerSpec(bytes, field, draft.normalizer);
      else if (field.number === 5) readNormalizerSpec(bytes, field, (draft.denormalizer ??= defaultRules()));
    });
  } catch (error) {
    if (error instanceof WireError) throw damaged(name, error.message);
    throw error;
  }
  draft.normalizer.treatWhitespaceAsSuffix = draft.treatWhitespaceAsSuffix;
  return draft;
}

function defaultRules(): NormalizerRules {
  return {
    charsmap: new Uint8Array(0),
    addDummyPrefix: true,
    removeExtraWhitespaces: true,
    escapeWhitespaces: true,
    treatWhitespaceAsSuffix: false,
  };
}

function readPiece(bytes: Uint8Array, view: DataView, message: Field, draft: Draft): void {
  if (draft.starts.length === MAX_PIECES) throw new WireError(`it has more than ${MAX_PIECES} pieces`);
  let [start, end, score, type] = [0, 0, 0, PieceType.normal as number];
  readFields(bytes, message.start, message.end, (field) => {
    if (field.number === 1 && field.wire === 2) [start, end] = [field.start, field.end];
    else if (field.number === 2 && field.wire === 5) score = view.getFloat32(field.start, true);
    else if (field.number === 3 && field.wire === 0) type = field.int;
  });
  draft.starts.push(start);
  draft.ends.push(end);
  draft.scores.push(score);
  draft.types.push(type);
}

function readTrainerSpec(bytes: Uint8Array, message: Field, draft: Draft): void {
  readFields(bytes, message.start, message.end, (field) => {
    if (field.number === 3 && field.wire === 0) draft.modelType = field.int;
    else if (field.number === 24 && field.wire === 0) draft.treatWhitespaceAsSuffix = field.int !== 0;
    else if (field.number === 35 && field.wire === 0) draft.byteFallback = field.int !== 0;
    else if (field.number === 44 && field.wire === 2) {
      draft.unknownSurface = new TextDecoder('utf-8', { ignoreBOM: true })
        .decode(bytes.subarray(field.start, field.end))
        .split('\0')[0];
    }
  });
}

function readNormalizerSpec(bytes: Uint8Array, message: Field, rules: NormalizerRules): void {
  readFields(bytes, message.start, message.end, (field) => {
    if (field.number === 2 && field.wire === 2) rules.charsmap = bytes.subarray(field.start, field.end);
    if (field.wire !== 0) return;
    if (field.number === 3) rules.addDummyPrefix = field.int !== 0;
    else if (field.number === 4) rules.removeExtraWhitespaces = field.int !== 0;
    else if (field.number === 5) rules.escapeWhitespaces = field.int !== 0;
  });
}

function check(bytes: Uint8Array, draft: Draft, name: string): SentencePieceModel {
  const pieceCount = draft.starts.length;
  const bytePieces = new Int32Array(draft.byteFallback ? 256 : 0).fill(-1);
  const reserved = new Set<string>();
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let unknownId = -1;
  let ordinary = 0;
  for (let id = 0; id < pieceCount; id++) {
    const [start, end, type] = [draft.starts[id], draft.ends[id], draft.types[id]];
    if (start === end) throw damaged(name, `piece ${id} is empty`);
    if (end - start > MAX_PIECE_BYTES) throw damaged(name, `piece ${id} has ${end - start} bytes`);
    if (bytes.subarray(start, end).includes(0)) throw damaged(name, `piece ${id} has a null character`);
    if (!Number.isFinite(draft.scores[id])) throw damaged(name, `the score of piece ${id} is no number`);
    if (type < 1 || type > 6) throw damaged(name, `piece ${id} is of the unknown type ${type}`);
    if (type === PieceType.normal || type === PieceType.userDefined || type === PieceType.unused) {
      ordinary++;
      continue;
    }
    const piece = decoder.decode(bytes.subarray(start, end));
    if (reserved.has(piece)) throw damaged(name, `piece ${id} is there twice`);
    reserved.add(piece);
    if (type === PieceType.unknown) {
      if (unknownId >= 0) throw damaged(name, 'it has two unknown pieces');
      unknownId = id;
    } else if (type === PieceType.byte) {
      const byte = /^<0x[0-9A-F]{2}>$/.test(piece) ? Number.parseInt(piece.slice(3, 5), 16) : -1;
      if (byte < 0 || !draft.byteFallback) throw damaged(name, `the byte piece ${id} is out of place`);
      bytePieces[byte] = id;
    }
  }
  if (ordinary === 0) throw damaged(name, 'it has no pieces');
  if (unknownId < 0) throw damaged(name, 'it has no unknown piece');
  if (bytePieces.includes(-1)) throw damaged(name, 'some of the 256 byte pieces are missing');
  return {
    bytes,
    pieceCount,
    starts: Uint32Array.from(draft.starts),
    ends: Uint32Array.from(draft.ends),
    scores: Float32Array.from(draft.scores),
    types: Uint8Array.from(draft.types),
    unknownId,
    unknownSurface: draft.unknownSurface,
    byteFallback: draft.byteFallback,
    bytePieces,
    normalizer: draft.normalizer,
    denormalizer: draft.denormalizer?.charsmap.length ? draft.denormalizer : undefined,
  };
}
