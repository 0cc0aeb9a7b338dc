/**
 * Trains a SentencePiece unigram tokenizer (Kudo 2018, "Subword Regularization", section 3.2) and returns it as the
 * bytes of a `.spm` file, for those who have texts and no tokenizer. Meant for small corpora: all of it is in memory.
 *
 * Frequent substrings of the words are the first pieces; expectation-maximisation fits their probabilities; the
 * pieces whose loss costs the likelihood least are removed step by step until the wanted number is left. Nothing is
 * random: the same texts in the same order give the same bytes.
 */

import { InputError } from '../../core/errors.js';

export interface TrainUnigramOptions {
  /** Pieces wanted, with the three special ones; fewer come out where the texts do not hold so many. */
  vocabularySize: number;
  /** The longest piece, in code points; 16 by default. */
  maxPieceLength?: number;
  /** Characters that get a piece even if no text has them; all printable ASCII by default. */
  requiredCharacters?: string;
  /** Whether the tokenizer shall take A to Z for a to z; the texts to train on are given in small letters then. */
  foldCase?: boolean;
}

export interface UnigramPiece {
  piece: string;
  /** Log probability; 0 for the special pieces. */
  score: number;
}

export interface TrainedUnigram {
  /** The `.spm` file: a ModelProto that the sentencepiece library loads. */
  bytes: Uint8Array;
  /** In the order of their ids; 0, 1, 2 are `<unk>`, `<s>`, `</s>`, the others go by falling score. */
  pieces: UnigramPiece[];
}

/** How SentencePiece writes a space: every word begins with one. */
const SPACE = '\u2581';
const SPECIAL = ['<unk>', '<s>', '</s>'];
/** The share of pieces that a round of removing keeps, and the surplus over the wanted number where it ends. */
const KEEP = 0.75;
const SURPLUS = 1.1;
/** A piece that is expected to be used less often than this is dropped after each round of EM. */
const LEAST_USES = 0.5;
/** What is longer is no word of a language and would only slow the training down. */
const LONGEST_WORD = 200;

/** A word of the corpus: its code points as one string each, and how often it occurs. */
interface Word {
  points: string[];
  uses: number;
}

/** Log probabilities by piece; single characters are always among them, so every word can be spelled. */
type Model = Map<string, number>;

/**
 * Trains on `texts`, which are taken as they are (fold case and normalise before) and split into words at white space;
 * no piece crosses a word. Throws InputError for texts without a word and for a vocabulary too small for their
 * characters.
 */
export function trainUnigram(texts: Iterable<string>, options: TrainUnigramOptions): TrainedUnigram {
  const { vocabularySize, maxPieceLength = 16, requiredCharacters = printableAscii() } = options;
  const words = countWords(texts);
  if (words.length === 0) throw new InputError('the texts to train a tokenizer on hold no word: give some text');
  const characters = new Set([SPACE, ...[...requiredCharacters].filter((c) => c.trim() !== '')]);
  for (const word of words) for (const point of word.points) characters.add(point);
  const wanted = vocabularySize - SPECIAL.length;
  if (!Number.isInteger(vocabularySize) || wanted < characters.size) {
    throw new InputError(
      `a vocabulary of ${vocabularySize} pieces is too small for these texts: ask for at least ` +
        `${characters.size + SPECIAL.length}, one for each character and three special ones`,
    );
  }

  const goal = Math.floor(SURPLUS * wanted);
  let model = seedModel(words, characters, maxPieceLength, Math.max(10_000, 10 * vocabularySize));
  for (;;) {
    for (let round = 0; round < 2; round++) model = fit(model, words, characters, maxPieceLength);
    if (model.size <= goal) break;
    const keep = Math.max(goal, Math.floor(KEEP * model.size));
    model = removeLeastUseful(model, words, characters, maxPieceLength, keep);
  }

  const byScore = [...model].sort(compareEntries);
  const longer = byScore.filter(([piece]) => !characters.has(piece)).slice(0, wanted - characters.size);
  const chosen = [...byScore.filter(([piece]) => characters.has(piece)), ...longer].sort(compareEntries);
  const pieces = [
    ...SPECIAL.map((piece) => ({ piece, score: 0 })),
    ...chosen.map(([piece, score]) => ({ piece, score })),
  ];
  return { bytes: encodeModel(pieces, maxPieceLength, options.foldCase ? foldingTable() : null), pieces };
}

function printableAscii(): string {
  return String.fromCharCode(...Array.from({ length: 94 }, (_, i) => 33 + i));
}

function countWords(texts: Iterable<string>): Word[] {
  const uses = new Map<string, number>();
  for (const text of texts) {
    // A file may hold neither the null character nor half a surrogate pair.
    const valid = text.replaceAll('\0', ' ').replace(/\p{Surrogate}/gu, '\ufffd');
    for (const word of valid.split(/\s+/)) {
      if (word !== '' && word.length <= LONGEST_WORD) uses.set(word, (uses.get(word) ?? 0) + 1);
    }
  }
  return [...uses].map(([word, n]) => ({ points: [SPACE, ...word], uses: n }));
}

/** By falling number, equal ones in the order of their characters. */
function compareEntries(a: [string, number], b: [string, number]): number {
  return b[1] - a[1] || (a[0] < b[0] ? -1 : 1);
}

/** All characters, and the `count` substrings that cover most of the corpus (uses times length). */
function seedModel(words: Word[], characters: Set<string>, maxLength: number, count: number): Model {
  const covered = new Map<string, number>([...characters].map((c) => [c, 0]));
  const uses = new Map<string, number>();
  for (const { points, uses: n } of words) {
    for (let from = 0; from < points.length; from++) {
      let piece = '';
      for (let to = from; to < Math.min(points.length, from + maxLength); to++) {
        piece += points[to];
        uses.set(piece, (uses.get(piece) ?? 0) + n);
        covered.set(piece, (covered.get(piece) ?? 0) + n * (to - from + 1));
      }
    }
  }
  // A file may not hold a piece twice, and these are there already.
  for (const piece of SPECIAL) covered.delete(piece);
  const all = [...covered];
  const longer = all.filter(([piece]) => !characters.has(piece) && uses.get(piece)! > 1).sort(compareEntries);
  return logProbabilities(new Map([...all.filter(([piece]) => characters.has(piece)), ...longer.slice(0, count)]));
}

/** Counts to log probabilities. A character that is hardly used keeps a small one. */
function logProbabilities(counts: Map<string, number>): Model {
  const least = 1e-3;
  let total = 0;
  for (const n of counts.values()) total += Math.max(n, least);
  return new Map([...counts].map(([piece, n]) => [piece, Math.log(Math.max(n, least) / total)]));
}

/** One round of expectation-maximisation: the expected uses of each piece over all segmentations of all words. */
function fit(model: Model, words: Word[], characters: Set<string>, maxLength: number): Model {
  const expected = new Map<string, number>([...model.keys()].map((piece) => [piece, 0]));
  for (const word of words) {
    const length = word.points.length;
    const edges = latticeOf(word.points, model, maxLength);
    const forward = new Float64Array(length + 1).fill(-Infinity);
    const backward = new Float64Array(length + 1).fill(-Infinity);
    forward[0] = 0;
    backward[length] = 0;
    // Edges are sorted by where they start, so one pass each way sees every sum complete.
    for (const e of edges) forward[e.to] = logAdd(forward[e.to], forward[e.from] + e.score);
    for (let i = edges.length - 1; i >= 0; i--) {
      const e = edges[i];
      backward[e.from] = logAdd(backward[e.from], backward[e.to] + e.score);
    }
    for (const e of edges) {
      const probability = Math.exp(forward[e.from] + e.score + backward[e.to] - forward[length]);
      expected.set(e.piece, expected.get(e.piece)! + word.uses * probability);
    }
  }
  return logProbabilities(new Map([...expected].filter(([piece, n]) => n >= LEAST_USES || characters.has(piece))));
}

/** A piece of the model that spells the code points `from` to `to` (not included) of a word. */
interface Edge {
  from: number;
  to: number;
  piece: string;
  score: number;
}

function latticeOf(points: string[], model: Model, maxLength: number): Edge[] {
  const edges: Edge[] = [];
  for (let from = 0; from < points.length; from++) {
    let piece = '';
    for (let to = from + 1; to <= Math.min(points.length, from + maxLength); to++) {
      piece += points[to - 1];
      const score = model.get(piece);
      if (score !== undefined) edges.push({ from, to, piece, score });
    }
  }
  return edges;
}

function logAdd(a: number, b: number): number {
  if (a === -Infinity) return b;
  const high = Math.max(a, b);
  return high + Math.log1p(Math.exp(Math.min(a, b) - high));
}

/** The pieces of the most probable segmentation; `without` may not be one of them. */
function bestSegmentation(points: string[], model: Model, maxLength: number, without?: string): string[] {
  const best = new Float64Array(points.length + 1).fill(-Infinity);
  const last: (Edge | undefined)[] = new Array(points.length + 1);
  best[0] = 0;
  for (const e of latticeOf(points, model, maxLength)) {
    if (e.piece === without || best[e.from] + e.score <= best[e.to]) continue;
    best[e.to] = best[e.from] + e.score;
    last[e.to] = e;
  }
  const pieces: string[] = [];
  for (let e = last[points.length]; e; e = last[e.from]) pieces.push(e.piece);
  return pieces.reverse();
}

/**
 * Keeps the characters and those other pieces whose removal would lower the likelihood most, `keep` in all. The loss is
 * estimated on the best segmentations: each use of the piece becomes uses of the pieces that would spell it instead.
 */
function removeLeastUseful(
  model: Model,
  words: Word[],
  characters: Set<string>,
  maxLength: number,
  keep: number,
): Model {
  const uses = new Map<string, number>();
  let total = 0;
  for (const word of words) {
    for (const piece of bestSegmentation(word.points, model, maxLength)) {
      uses.set(piece, (uses.get(piece) ?? 0) + word.uses);
      total += word.uses;
    }
  }
  const losses: [string, number][] = [];
  for (const [piece, n] of uses) {
    if (characters.has(piece)) continue;
    const instead = bestSegmentation([...piece], model, maxLength, piece);
    const newTotal = Math.log(total + n * (instead.length - 1));
    const spelled = instead.reduce((sum, part) => sum + Math.log((uses.get(part) ?? 0) + n) - newTotal, 0);
    losses.push([piece, n * (Math.log(n / total) - spelled)]);
  }
  const kept = losses.sort(compareEntries).slice(0, keep - characters.size);
  return new Map([...characters, ...kept.map(([piece]) => piece)].map((piece) => [piece, model.get(piece)!]));
}

/** The protobuf message ModelProto of sentencepiece_model.proto, with the fields that loading and encoding read. */
function encodeModel(pieces: UnigramPiece[], maxPieceLength: number, charsmap: Uint8Array | null): Uint8Array {
  const model = new Message();
  // Types: UNKNOWN is 2, CONTROL 3 and NORMAL 1.
  const types = [2, 3, 3];
  pieces.forEach(({ piece, score }, id) => {
    model.message(
      1,
      new Message()
        .text(1, piece)
        .float(2, score)
        .int(3, types[id] ?? 1),
    );
  });
  const trainer = new Message().int(3, 1).int(4, pieces.length).int(20, maxPieceLength);
  SPECIAL.forEach((piece, id) => {
    trainer.int(40 + id, id).text(45 + id, piece);
  });
  // Spaces are trimmed, joined, marked, and one is put before the first word.
  const normalizer = new Message().text(1, charsmap ? 'user_defined' : 'identity');
  if (charsmap) normalizer.block(2, charsmap);
  normalizer.int(3, 1).int(4, 1).int(5, 1);
  return Uint8Array.from(model.message(2, trainer).message(3, normalizer).bytes);
}

/**
 * The table of normalisation that makes A to Z small: the size of a trie, the trie as a double array (see charsmap.ts)
 * and the replacements. Unit 0 is the root, letters are units from 256 on, each with a leaf from 512 on; the sentencepiece
 * library wants whole kilobytes.
 */
function foldingTable(): Uint8Array {
  const [A, letters] = [0x41, 26];
  const units = new Uint32Array(768);
  const replacements = new Uint8Array(2 * letters);
  units[0] = 256 << 10;
  for (let i = 0; i < letters; i++) {
    const [node, leaf] = [256 + A + i, 512 + i];
    units[node] = ((node ^ leaf) << 10) | 0x100 | (A + i);
    units[leaf] = 0x80000000 | (2 * i);
    replacements[2 * i] = A + 0x20 + i;
  }
  const bytes = new Uint8Array(4 + 4 * units.length + replacements.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 4 * units.length, true);
  for (const [i, unit] of units.entries()) view.setUint32(4 + 4 * i, unit, true);
  bytes.set(replacements, 4 + 4 * units.length);
  return bytes;
}

/** Writes protobuf fields one after another. */
class Message {
  readonly bytes: number[] = [];

  int(field: number, value: number): this {
    this.varint(field << 3);
    this.varint(value);
    return this;
  }

  float(field: number, value: number): this {
    this.varint((field << 3) | 5);
    const bits = new DataView(new ArrayBuffer(4));
    bits.setFloat32(0, value, true);
    for (let i = 0; i < 4; i++) this.bytes.push(bits.getUint8(i));
    return this;
  }

  text(field: number, value: string): this {
    return this.block(field, new TextEncoder().encode(value));
  }

  message(field: number, value: Message): this {
    return this.block(field, value.bytes);
  }

  block(field: number, content: ArrayLike<number>): this {
    this.varint((field << 3) | 2);
    this.varint(content.length);
    for (let i = 0; i < content.length; i++) this.bytes.push(content[i]);
    return this;
  }

  private varint(value: number): void {
    let rest = value;
    for (; rest > 127; rest >>>= 7) this.bytes.push((rest & 127) | 128);
    this.bytes.push(rest);
  }
}
