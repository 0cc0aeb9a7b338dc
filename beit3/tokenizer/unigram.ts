/** The most probable way to cut a text into pieces (Kudo 2018), with SentencePiece's own rounding and tie-breaking. */

import { PieceType, type SentencePieceModel } from './modelFile.js';
import { characterLength } from './normalizer.js';
import type { ByteTrie } from './trie.js';

/** How much less probable an unknown character is than the least probable piece, in logs. */
const UNKNOWN_PENALTY = 10;
/** A user-defined piece has this score for each byte after its first, in place of its own (sentencepiece 0.2.2). */
const USER_DEFINED_BONUS = 0.1;
/** C's FLT_MAX, which SentencePiece starts from where it looks for the least score. */
const FLOAT_MAX = 3.4028234663852886e38;

/** Calls with [start, end) in the text's bytes and the piece's number. */
export type VisitPiece = (start: number, end: number, id: number) => void;

export class UnigramSegmenter {
  private readonly unknownScore: number;
  /** For each end: score, first byte and number of the last piece of the best way there. Grown as needed. */
  private best = new Float32Array(0);
  private startOf = new Int32Array(0);
  private idOf = new Int32Array(0);

  constructor(
    private readonly model: SentencePieceModel,
    private readonly trie: ByteTrie,
  ) {
    let min = FLOAT_MAX;
    for (let id = 0; id < model.pieceCount; id++) {
      if (model.types[id] === PieceType.normal) min = Math.min(min, model.scores[id]);
    }
    this.unknownScore = Math.fround(min - UNKNOWN_PENALTY);
  }

  /** Cuts normalised UTF-8 `text` and visits its pieces from first to last; a character that no piece has is unknown. */
  segment(text: Uint8Array, visit: VisitPiece): void {
    const size = text.length;
    if (this.best.length <= size) {
      this.best = new Float32Array(2 * size + 1);
      this.startOf = new Int32Array(2 * size + 1);
      this.idOf = new Int32Array(2 * size + 1);
    }
    const { best, startOf, idOf, trie, model } = this;
    startOf.fill(-1, 0, size + 1);
    best[0] = 0;
    for (let start = 0; start < size; ) {
      const soFar = best[start];
      const next = start + Math.min(characterLength(text[start]), size - start);
      let hasSingle = false;
      let node = 0;
      for (let at = start; at < size; ) {
        node = trie.step(node, text[at++]);
        if (node < 0) break;
        const id = trie.valueAt(node);
        if (id < 0 || model.types[id] === PieceType.unused) continue;
        const isUserDefined = model.types[id] === PieceType.userDefined;
        const score = isUserDefined ? USER_DEFINED_BONUS * (at - start - 1) : model.scores[id];
        // Single precision at every step, so that near ties fall as they do in SentencePiece.
        const total = Math.fround(Math.fround(score) + soFar);
        if (startOf[at] === -1 || total > best[at]) {
          best[at] = total;
          startOf[at] = start;
          idOf[at] = id;
        }
        if (at === next) hasSingle = true;
      }
      if (!hasSingle) {
        const total = Math.fround(this.unknownScore + soFar);
        if (startOf[next] === -1 || total > best[next]) {
          best[next] = total;
          startOf[next] = start;
          idOf[next] = model.unknownId;
        }
      }
      start = next;
    }

    const ends: number[] = [];
    for (let end = size; end > 0; end = startOf[end]) ends.push(end);
    for (let i = ends.length - 1; i >= 0; i--) visit(startOf[ends[i]], ends[i], idOf[ends[i]]);
  }
}
