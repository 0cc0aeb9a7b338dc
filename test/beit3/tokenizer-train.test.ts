import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { cleanText, emojiTexts, trainEmojiTokenizer } from '../../beit3/emoji/text.js';
import { Tokenizer } from '../../beit3/tokenizer/index.js';
import { trainUnigram, type UnigramPiece } from '../../beit3/tokenizer/train.js';
import { InputError } from '../../core/errors.js';

/**
 * Texts, the .spm file that was trained on them, and what the sentencepiece library (0.2, C++) made of some sentences
 * after it had loaded that file.
 */
interface Fixture {
  texts: string[];
  vocabularySize: number;
  requiredCharacters: string;
  spm: string;
  official: { text: string; pieces: string[]; ids: number[]; decoded: string }[];
}
const fixture: Fixture = JSON.parse(
  readFileSync(new URL('../../../test/fixtures/tokenizer_train.json', import.meta.url), 'utf8'),
);

/** The most probable spelling of a text with pieces that all have a finite score; unknown characters by themselves. */
function segment(pieces: UnigramPiece[], text: string): string[] {
  const scores = new Map(pieces.slice(3).map((p) => [p.piece, Math.fround(p.score)]));
  const unknown = Math.min(...scores.values()) - 10;
  const points = [...text.split(' ').filter((word) => word !== '')].flatMap((word) => ['\u2581', ...word]);
  const best: { score: number; pieces: string[] }[] = [{ score: 0, pieces: [] }];
  for (let to = 1; to <= points.length; to++) {
    for (let from = Math.max(0, to - 16); from < to; from++) {
      const piece = points.slice(from, to).join('');
      const score = scores.get(piece) ?? (to - from === 1 ? unknown : Number.NEGATIVE_INFINITY);
      const total = best[from].score + score;
      if (total > (best[to]?.score ?? Number.NEGATIVE_INFINITY)) {
        best[to] = { score: total, pieces: [...best[from].pieces, piece] };
      }
    }
  }
  return best[points.length].pieces;
}

describe('unigram trainer', () => {
  const trained = trainUnigram(fixture.texts, fixture);

  it('gives the bytes that the sentencepiece library has loaded', () => {
    assert.equal(Buffer.from(trained.bytes).toString('base64'), fixture.spm);
    assert.equal(trained.pieces.length, fixture.vocabularySize);
  });

  it('means the segmentations that the library finds', () => {
    for (const { text, pieces, ids } of fixture.official) {
      // The library joins neighbouring unknown characters into one piece with the id 0.
      if (ids.includes(0)) continue;
      assert.deepEqual(segment(trained.pieces, text), pieces, text);
      assert.deepEqual(
        pieces.map((piece) => trained.pieces.findIndex((p) => p.piece === piece)),
        ids,
      );
    }
  });

  it('spells every text it was trained on, and back', () => {
    for (const text of fixture.texts) {
      const pieces = segment(trained.pieces, text);
      assert.equal(pieces.join('').replaceAll('\u2581', ' ').trim(), text.replace(/\s+/g, ' ').trim());
      assert.ok(pieces.every((piece) => trained.pieces.some((p) => p.piece === piece)));
    }
  });

  it('is deterministic, and falls in score', () => {
    assert.deepEqual(trainUnigram([...fixture.texts], fixture).bytes, trained.bytes);
    const scores = trained.pieces.slice(3).map((p) => p.score);
    assert.ok(scores.every((score, i) => score < 0 && (i === 0 || score <= scores[i - 1])));
    assert.deepEqual(trained.pieces.slice(0, 3), [
      { piece: '<unk>', score: 0 },
      { piece: '<s>', score: 0 },
      { piece: '</s>', score: 0 },
    ]);
  });

  it('learns whole words that are frequent and shares parts of the others', () => {
    const texts = [...Array(50).fill('walking talking'), ...Array(20).fill('walk jumping'), 'zzyzx'];
    const { pieces } = trainUnigram(texts, { vocabularySize: 60, requiredCharacters: '' });
    assert.deepEqual(segment(pieces, 'walking talking'), ['\u2581walking', '\u2581talking']);
    assert.deepEqual(segment(pieces, 'zzyzx'), ['\u2581', 'z', 'z', 'y', 'z', 'x']);
  });

  it('never repeats a piece, whatever the text holds', () => {
    const odd = '<s>a <s>a </s> <unk> x<unk>x \u2581\u2581 \ud800 a\ud800 \ufffd \u{1f600}\u200d\u{1f525} \u0000';
    const { pieces } = trainUnigram(Array(5).fill(odd), { vocabularySize: 400 });
    assert.equal(new Set(pieces.map((p) => p.piece)).size, pieces.length);
    assert.ok(pieces.length < 400 && pieces.some((p) => p.piece === '\u{1f600}'));
    assert.ok(
      pieces.every((p) => !/\p{Surrogate}/u.test(p.piece) && !p.piece.includes('\0') && Number.isFinite(p.score)),
    );
  });

  it('can fold case by itself', () => {
    const texts = ['red apple', 'zebra face', 'quick brown fox jumps over the lazy dog'];
    const folding = Tokenizer.fromBytes(trainUnigram(texts, { vocabularySize: 130, foldCase: true }).bytes);
    const plain = Tokenizer.fromBytes(trainUnigram(texts, { vocabularySize: 130 }).bytes);
    const letters = 'abcdefghijklmnopqrstuvwxyz';
    assert.deepEqual(folding.encode(letters.toUpperCase()), folding.encode(letters));
    assert.deepEqual(folding.encode('Red APPLE [{@'), plain.encode('red apple [{@'));
    assert.equal(
      folding.decode(folding.encode('\u00c9 Zebra').ids),
      folding.decode(folding.encode('\u00c9 zebra').ids),
    );
    assert.notDeepEqual(plain.encode('RED'), plain.encode('red'));
  });

  it('says what is wrong with a request', () => {
    assert.throws(() => trainUnigram([' ', ''], { vocabularySize: 300 }), InputError);
    assert.throws(() => trainUnigram(['abc'], { vocabularySize: 50 }), /ask for at least 98/);
    assert.throws(() => trainUnigram(['abc'], { vocabularySize: 150.5 }), InputError);
  });
});

describe('texts of the emoji corpus', () => {
  const entry = (style: string, hexcode: string, label: string, tags: string[]) => ({
    style,
    hexcode,
    label,
    tags,
    emoji: '',
    group: '',
    subgroup: '',
    image: 0,
  });

  it('cleans labels and tags', () => {
    assert.equal(cleanText('  Côte\u00a0d’Ivoire \n“Ａ” '), 'côte d\'ivoire "a"');
    assert.deepEqual(emojiTexts(entry('noto', '1', 'Red Heart', ['red heart', 'love', ' '])), ['red heart', 'love']);
  });

  it('trains on each emoji once, however many styles draw it', () => {
    const one = [entry('noto', '1F436', 'dog face', ['pet']), entry('noto', '1F431', 'cat face', ['pet'])];
    const two = [...one, entry('twemoji', '1F436', 'dog face', ['pet'])];
    const options = { vocabularySize: 120 };
    assert.deepEqual(trainEmojiTokenizer(two, options), trainEmojiTokenizer(one, options));
  });
});
