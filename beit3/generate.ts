/** Captions by beam search with cached keys and values, step for step as the reference decodes. */
import { InputError } from '../core/errors.js';
import { keep, scope } from '../core/memory.js';
import { noGrad } from '../core/modes.js';
import { expand, gatherRows, logSoftmax, reshape, slice } from '../core/ops/index.js';
import { nextTurn } from '../core/runtime.js';
import { type Tensor, tensor } from '../core/tensor.js';
import { expectFinite } from './finite.js';
import type { Captioning } from './heads/captioning.js';
import type { Cache } from './model/beit3.js';

export interface GenerateOptions {
  /** Hypotheses kept per image. */
  readonly numBeams?: number;
  /** Tokens of a caption with <s>, and </s> in place of the last [MASK]. */
  readonly maxLength?: number;
  /** A hypothesis scores its log-probability over length ^ lengthPenalty: larger favours longer ones. */
  readonly lengthPenalty?: number;
  readonly maskId: number;
  readonly clsId?: number;
  readonly padId?: number;
  readonly sepId?: number;
  /** Sees the log-probabilities [B * beams, words] of every step; with it decoding also runs the last, unused step. */
  readonly onStep?: (logProbabilities: Float32Array, step: number) => void;
}

export interface Caption {
  /** Token ids of the whole row: <s>, words, [MASK], </s>, padding up to maxLength. */
  readonly ids: number[];
  /** Log-probability over length ^ lengthPenalty. */
  readonly score: number;
}

interface Beam {
  score: number;
  word: number;
  /** Row of the batch * beams that it continues. */
  from: number;
}

interface Hypothesis {
  readonly score: number;
  readonly ids: number[];
}

/** Upper bound of maxLength; models end long before. */
const MOST_TOKENS = 1 << 16;

/** Candidates looked at per beam and step. */
const CANDIDATES = 3;

/** Writes one caption for each image [B, C, S, S]. */
export async function generate(model: Captioning, image: Tensor, options: GenerateOptions): Promise<Caption[]> {
  const {
    numBeams = 3,
    maxLength = 20,
    lengthPenalty = 0.6,
    maskId,
    clsId = 0,
    padId = 1,
    sepId = 2,
    onStep,
  } = options;
  if (!(Number.isInteger(numBeams) && numBeams >= 1 && numBeams <= 64))
    throw new InputError(`The number of beams must be a whole number from 1 to 64, got ${numBeams}.`);
  if (!(Number.isInteger(maxLength) && maxLength >= 3 && maxLength <= MOST_TOKENS))
    throw new InputError(
      `The longest caption must be a whole number from 3 to ${MOST_TOKENS} tokens, got ${maxLength}.`,
    );
  const B = image.shape[0];
  const rows = B * numBeams;

  const decoded = Array.from({ length: rows }, () => [clsId, ...new Array<number>(maxLength - 1).fill(maskId)]);
  const best: (Hypothesis | null)[] = new Array(B).fill(null);
  const done = new Array<boolean>(B).fill(false);
  // Only the first beam of an image counts at the start, or all would be the same.
  let scores: number[] = Array.from({ length: rows }, (_, r) => (r % numBeams === 0 ? 0 : -1e9));
  let beams: Beam[] = [];
  let cache: Cache = [];

  const lastLength = onStep ? maxLength : maxLength - 1;
  try {
    for (let length = 2; length <= lastLength; length++) {
      const step = noGrad(() =>
        scope(() =>
          length === 2 ? first(model, image, numBeams, [clsId, maskId]) : next(model, cache, beams, maskId, length),
        ),
      );
      freeCache(cache, step.cache);
      cache = step.cache;
      for (const t of tensorsOf(cache)) keep(t);
      const logProbabilities = (await step.logProbabilities.data()) as Float32Array;
      const words = step.logProbabilities.shape[1];
      step.logProbabilities.dispose();
      // One of each row tells: the softmax spreads what is not finite over all.
      expectFinite(Float32Array.from({ length: rows }, (_, r) => logProbabilities[r * words]));
      await nextTurn();
      onStep?.(logProbabilities, length - 2);

      beams = [];
      for (let b = 0; b < B; b++) {
        const candidates = topCandidates(logProbabilities, scores, b * numBeams, numBeams, words);
        const hypothesis = best[b];
        // Nothing that is still written can beat the finished one.
        done[b] ||= hypothesis !== null && hypothesis.score >= candidates[0].score / (maxLength - 1) ** lengthPenalty;
        let continued: Beam[] = [];
        for (const c of done[b] ? [] : candidates) {
          if ((c.word === sepId && length < maxLength) || length + 1 === maxLength) {
            const score = c.score / length ** lengthPenalty;
            const before = best[b];
            if (before === null || score > before.score) best[b] = { score, ids: decoded[c.from].slice(0, length) };
          } else continued.push(c);
          if (continued.length === numBeams) break;
        }
        if (continued.length === 0)
          continued = Array.from({ length: numBeams }, () => ({ score: 0, word: padId, from: 0 }));
        beams.push(...continued);
      }
      scores = beams.map((b) => b.score);
      const rowsBefore = beams.map((b) => decoded[b.from].slice());
      beams.forEach((b, r) => {
        decoded[r] = rowsBefore[r];
        if (length - 1 < maxLength) decoded[r][length - 1] = b.word;
      });
      if (done.every(Boolean)) break;
    }
  } finally {
    freeCache(cache);
  }
  return best.map((hypothesis) => {
    const ids = hypothesis ? [...hypothesis.ids, sepId] : [clsId, sepId];
    return {
      ids: [...ids, ...new Array<number>(Math.max(0, maxLength - ids.length)).fill(padId)],
      score: hypothesis?.score ?? -1e5,
    };
  });
}

interface Step {
  readonly logProbabilities: Tensor;
  readonly cache: Cache;
}

/** The image and <s> [MASK]: once per image, then repeated for its beams. */
function first(model: Captioning, image: Tensor, numBeams: number, ids: number[]): Step {
  const B = image.shape[0];
  const cache = model.beit3.emptyCache(B, image);
  const text = tensor(
    Int32Array.from({ length: 2 * B }, (_, i) => ids[i % 2]),
    { shape: [B, 2], backend: image.backend },
  );
  const logits = model.decode(image, text, 2, cache);
  const repeat = (t: Tensor) =>
    reshape(expand(reshape(t, [B, 1, ...t.shape.slice(1)]), [B, numBeams, ...t.shape.slice(1)]), [
      B * numBeams,
      ...t.shape.slice(1),
    ]);
  const images = model.beit3.visionLength;
  const ofImage = (t: Tensor) => slice(t, 1, 0, images);
  const ofText = (t: Tensor) => repeat(slice(t, 1, images));
  return {
    logProbabilities: repeat(logSoftmax(logits)),
    cache: cache.map(({ key, value }) => ({
      key: ofText(key),
      value: ofText(value),
      image: { key: ofImage(key), value: ofImage(value) },
    })),
  };
}

/** The words just chosen and a new [MASK], after the cached positions but for the last [MASK]. */
function next(model: Captioning, cache: Cache, beams: readonly Beam[], maskId: number, length: number): Step {
  const backend = cache[0].key.backend;
  const rows = (indices: number[]) => tensor(Int32Array.from(indices), { backend });
  const from = rows(beams.map((b) => b.from));
  const reorder = (t: Tensor) => slice(gatherRows(t, from), 1, 0, t.shape[1] - 1);
  // Beams continue their own image, but for those of an image that is done: the reference lets them follow row 0.
  const numBeams = beams.length / (cache[0].image?.key.shape[0] ?? beams.length);
  const images = beams.filter((_, r) => r % numBeams === 0).map((b) => Math.floor(b.from / numBeams));
  const ofImage = images.every((image, b) => image === b) ? null : rows(images);
  const pick = (t: Tensor) => (ofImage ? gatherRows(t, ofImage) : t);
  const continued = cache.map(({ key, value, image }) => ({
    key: reorder(key),
    value: reorder(value),
    image: image && { key: pick(image.key), value: pick(image.value) },
  }));
  const text = tensor(Int32Array.from(beams.flatMap((b) => [b.word, maskId])), { shape: [beams.length, 2], backend });
  const logits = model.decode(null, text, length, continued);
  return { logProbabilities: logSoftmax(logits), cache: continued };
}

const tensorsOf = (cache: Cache): Tensor[] =>
  cache.flatMap(({ key, value, image }) => [key, value, ...(image ? [image.key, image.value] : [])]);

/** Frees a cache but for what the next one goes on with. */
function freeCache(cache: Cache, next: Cache = []): void {
  const used = new Set(tensorsOf(next));
  for (const t of tensorsOf(cache)) if (!used.has(t)) t.dispose();
}

/** The best CANDIDATES * beams continuations of one image, best first; equal scores in order of beam and word. */
function topCandidates(
  logProbabilities: Float32Array,
  scores: readonly number[],
  firstRow: number,
  numBeams: number,
  words: number,
): Beam[] {
  const count = Math.min(CANDIDATES * numBeams, numBeams * words);
  const top: Beam[] = [];
  for (let r = firstRow; r < firstRow + numBeams; r++) {
    for (let word = 0; word < words; word++) {
      // Sums are float32, as the reference's are.
      const score = Math.fround(logProbabilities[r * words + word] + scores[r]);
      if (top.length === count && !(score > top[count - 1].score)) continue;
      let at = top.length;
      while (at > 0 && top[at - 1].score < score) at--;
      top.splice(at, 0, { score, word, from: r });
      if (top.length > count) top.pop();
    }
  }
  return top;
}
