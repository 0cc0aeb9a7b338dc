import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { Tokenizer } from '../../beit3/tokenizer/index.js';
import { InputError } from '../../core/errors.js';

const fixtures = new URL('../../../test/fixtures/', import.meta.url);
const spm = new Uint8Array(readFileSync(new URL('tokenizer.spm', fixtures)));
const tokenizer = Tokenizer.fromBytes(spm);

interface Case {
  text: string;
  pieces: string[];
  ids: number[];
  decoded: string;
}

function check(of: Tokenizer, { text, pieces, ids, decoded }: Case): void {
  assert.deepEqual(of.encode(text), { ids, pieces }, JSON.stringify(text));
  assert.equal(of.decode(ids), decoded, JSON.stringify(text));
}

/** A message with one field of bytes, as protobuf writes it. */
function field(number: number, bytes: Uint8Array | string): Buffer {
  const body = Buffer.from(bytes);
  const head = [(number << 3) | 2];
  let length = body.length;
  for (; length > 127; length >>>= 7) head.push((length & 127) | 128);
  return Buffer.concat([Buffer.from([...head, length]), body]);
}

const UNKNOWN = 2;
const CONTROL = 3;
const USER_DEFINED = 4;
const BYTE = 6;
type Piece = [piece: string, score: number, type?: number];
const BASE: Piece[] = [
  ['<unk>', 0, UNKNOWN],
  ['<s>', 0, CONTROL],
  ['</s>', 0, CONTROL],
];

/** A model file of a few pieces; `trainer` and `normalizer` are raw fields of those specs. */
function smallModel(pieces: Piece[], trainer: number[] = [], normalizer: number[] | Buffer = []): Uint8Array {
  const parts = pieces.map(([piece, score, type = 1]) => {
    const rest = Buffer.from([0x15, 0, 0, 0, 0, 0x18, type]);
    rest.writeFloatLE(score, 1);
    return field(1, Buffer.concat([field(1, piece), rest]));
  });
  const specs = [field(2, Buffer.from([0x18, 1, ...trainer])), field(3, Buffer.from(normalizer))];
  return new Uint8Array(Buffer.concat([...parts, ...specs]));
}

describe('tokenizer against the sentencepiece library', () => {
  const { cases, piece_count, mask_token_id }: { cases: Case[]; piece_count: number; mask_token_id: number } =
    JSON.parse(readFileSync(new URL('tokenizer_cases.json', fixtures), 'utf8'));

  it('has the reference ids of the special tokens', () => {
    assert.equal(tokenizer.pieceCount, piece_count);
    assert.equal(tokenizer.maskId, mask_token_id);
    assert.equal(tokenizer.vocabularySize, mask_token_id + 1);
    const { startId, padId, endId, unknownId } = tokenizer;
    assert.deepEqual([startId, padId, endId, unknownId], [0, 1, 2, 3]);
    assert.deepEqual(
      [0, 1, 2, 3, 4, mask_token_id].map((id) => tokenizer.pieceOf(id)),
      ['<s>', '<pad>', '</s>', '<unk>', '\u2581', '<mask>'],
    );
  });

  it('gives every piece, id and decoded text of the reference cases', () => {
    assert.ok(cases.length >= 30);
    for (const each of cases) check(tokenizer, each);
  });

  it('gives those of random texts, near ties included', () => {
    const random: Case[] = JSON.parse(readFileSync(new URL('tokenizer_fuzz.json', fixtures), 'utf8'));
    assert.ok(random.length >= 100);
    for (const each of random) check(tokenizer, each);
  });

  // Expected values below: sentencepiece 0.2.2 with the same small files.
  it('spells unknown characters in bytes where the file has byte pieces', () => {
    const bytes = [...Array(256).keys()].map(
      (byte): Piece => [`<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`, 0, BYTE],
    );
    const pieces: Piece[] = [...BASE, ...bytes, ['\u2581', -1], ['a', -2], ['ab', -2.5]];
    const of = Tokenizer.fromBytes(smallModel(pieces, [0x98, 2, 1]));
    check(of, {
      text: 'ab éa',
      pieces: ['\u2581', 'ab', '\u2581', '<0xC3>', '<0xA9>', 'a'],
      ids: [260, 262, 260, 199, 173, 261],
      decoded: 'ab éa',
    });
    assert.deepEqual(of.encode('😀').ids, [260, 244, 163, 156, 132]);
    assert.equal(of.decode([4 + 0xff, 4 + 0x41, 261]), '\ufffdAa');
    assert.equal(of.decode([4 + 0xe2, 4 + 0x81, 4 + 0x87, 4 + 0xe2]), '\u2047\ufffd');
  });

  it('prefers user-defined pieces and leaves their characters as they are', () => {
    const own: Piece[] = ['<mask>', '①', 'aab'].map((piece) => [piece, 0, USER_DEFINED]);
    const pieces: Piece[] = [['\u2581', -1], ['a', -1], ['b', -1], ['ab', -0.5, 5], ...own, ['ba', -1.9]];
    const of = Tokenizer.fromBytes(smallModel([...BASE, ...pieces]));
    const piecesOf = (text: string): string[] => of.encode(text).pieces;
    assert.deepEqual(piecesOf('a<mask>b ab'), ['\u2581', 'a', '<mask>', 'b', '\u2581', 'a', 'b']);
    assert.deepEqual(piecesOf('①aab'), ['\u2581', '①', 'aab']);
    assert.deepEqual(piecesOf('baaba'), ['\u2581', 'b', 'aab', 'a']);
  });

  it('follows the white space rules of the file', () => {
    const texts = ['  a  a ', ' ', '\u2581a\u2581'];
    const of = (trainer: number[], normalizer: number[]): string[] => {
      const small = Tokenizer.fromBytes(smallModel([...BASE, ['\u2581', -1], ['a', -1]], trainer, normalizer));
      return texts.map((text) => `${small.encode(text).pieces.join('|')} = ${small.decode(small.encode(text).ids)}`);
    };
    assert.deepEqual(of([], []), ['▁|a|▁|a = a a', ' = ', '▁|▁|a = a']);
    assert.deepEqual(of([], [0x18, 0]), ['a|▁|a = a a', ' = ', '▁|a = a']);
    assert.deepEqual(of([], [0x20, 0]), ['▁|▁|▁|a|▁|▁|a|▁ =   a  a ', '▁|▁ =  ', '▁|▁|a|▁ =  a ']);
    assert.deepEqual(of([0xc0, 1, 1], []), ['a|▁|a|▁ = a a ', ' = ', '▁|a|▁ = a ']);
    assert.deepEqual(of([], [0x28, 0]), [' |a| |a =  \u2047 a \u2047 a', ' = ', ' |▁|a|▁ =  \u2047  a ']);
    const surface = Tokenizer.fromBytes(smallModel([...BASE, ['\u2581', -1], ['a', -1]], [0xe2, 2, 3, 63, 33, 63]));
    assert.equal(surface.decode(surface.encode('xax').ids), '?!?a?!?');
  });
});

describe('framing for the model', () => {
  const ids = tokenizer.encode('A picture of a cat.').ids;

  it('is start, pieces, end, padding, with 1 where padded', () => {
    const text = tokenizer.encodeForModel('A picture of a cat.', 12);
    assert.deepEqual([...text.ids], [0, ...ids, 2, 1, 1, 1]);
    assert.deepEqual([...text.paddingMask], [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]);
    assert.equal(text.length, 9);
    assert.equal(text.truncated, false);
  });

  it('keeps maxLength - 2 pieces of a longer text and says so', () => {
    const text = tokenizer.encodeForModel('A picture of a cat.', 5);
    assert.deepEqual([...text.ids], [0, ...ids.slice(0, 3), 2]);
    assert.deepEqual([...text.paddingMask], [0, 0, 0, 0, 0]);
    assert.deepEqual([text.length, text.truncated], [5, true]);
    assert.equal(tokenizer.encodeForModel('A picture of a cat.', 9).truncated, false);
  });

  it('puts several texts into rows', () => {
    const rows = tokenizer.encodeBatchForModel(['a', 'A picture of a cat.'], 6);
    const each = ['a', 'A picture of a cat.'].map((text) => tokenizer.encodeForModel(text, 6));
    assert.deepEqual([...rows.ids], [...each[0].ids, ...each[1].ids]);
    assert.deepEqual([...rows.paddingMask], [...each[0].paddingMask, ...each[1].paddingMask]);
    assert.deepEqual(rows.lengths, [3, 6]);
    assert.deepEqual(rows.truncated, [false, true]);
  });

  it('is refused for a text without a word, and for a length without room', () => {
    assert.throws(() => tokenizer.encodeForModel(' \t ', 8), InputError);
    for (const length of [0, 2, 2.5, Number.NaN])
      assert.throws(() => tokenizer.encodeForModel('a', length), InputError);
  });

  it('is there for plain encoding too', () => {
    const encode = (options: object): number[] => tokenizer.encode('A picture of a cat.', options).ids;
    assert.deepEqual(encode({ addSpecial: true }), [0, ...ids, 2]);
    assert.deepEqual(encode({ maxLength: 3 }), ids.slice(0, 3));
    assert.deepEqual(encode({ addSpecial: true, maxLength: 4, pad: true }), [0, ids[0], ids[1], 2]);
    const padded = tokenizer.encode('a', { addSpecial: true, maxLength: 5, pad: true });
    assert.deepEqual(padded, { ids: [0, 12, 2, 1, 1], pieces: ['<s>', '\u2581a', '</s>', '<pad>', '<pad>'] });
    assert.throws(() => encode({ pad: true }), InputError);
    assert.throws(() => encode({ addSpecial: true, maxLength: 1 }), InputError);
  });

  it('comes off in decoding unless asked for', () => {
    const row = [0, ...ids, 2, 1, tokenizer.maskId];
    assert.equal(tokenizer.decode(row), 'A picture of a cat.');
    assert.equal(tokenizer.decode(row, { skipSpecial: false }), '<s> A picture of a cat.</s><pad><mask>');
    assert.deepEqual(tokenizer.decodeBatch([row, []]), ['A picture of a cat.', '']);
    for (const id of [-1, 1.5, tokenizer.vocabularySize]) assert.throws(() => tokenizer.decode([id]), InputError);
  });
});

describe('tokenizer on any text', () => {
  it('gives ids of the table and as many pieces, and decodes them', () => {
    const anyText = fc.string({
      unit: fc.oneof(fc.integer({ min: 0, max: 0xffff }).map((c) => String.fromCharCode(c))),
    });
    fc.assert(
      fc.property(fc.oneof(anyText, fc.string({ unit: 'grapheme' }), fc.string({ unit: 'binary' })), (text) => {
        const { ids, pieces } = tokenizer.encode(text);
        assert.equal(ids.length, pieces.length);
        ids.forEach((id, i) => {
          assert.ok(id >= 3 && id < tokenizer.maskId);
          if (id !== 3) assert.equal(pieces[i], tokenizer.pieceOf(id));
        });
        assert.equal(typeof tokenizer.decode(ids), 'string');
      }),
      { numRuns: 1000 },
    );
  });

  it('takes time in proportion to the length of the text', () => {
    const start = performance.now();
    assert.equal(tokenizer.encode('😀'.repeat(200_000)).ids.length, 2);
    assert.ok(tokenizer.encode('a'.repeat(200_000)).ids.length > 1000);
    assert.ok(performance.now() - start < 10_000);
  });
});

describe('tokenizer files', () => {
  const refuses = (bytes: Uint8Array, says: RegExp): void => {
    assert.throws(
      () => Tokenizer.fromBytes(bytes, 'my.spm'),
      (error) => error instanceof InputError && error.message.startsWith('my.spm ') && says.test(error.message),
    );
  };

  it('are refused in one sentence where they are something else', () => {
    refuses(new Uint8Array(0), /empty/);
    refuses(Buffer.from('{"model": {"type": "Unigram"}}\n'), /not a SentencePiece model or is damaged/);
    refuses(spm.subarray(0, spm.length - 1), /ends in the middle/);
    refuses(spm.subarray(0, 1000), /ends in the middle/);
    const types: [number, RegExp][] = [
      [2, /BPE/],
      [3, /word/],
      [4, /character/],
      [9, /number 9/],
    ];
    for (const [type, says] of types) refuses(smallModel([...BASE, ['a', 0]], [0x18, type]), says);
    refuses(smallModel([['a', 0]]), /no unknown piece/);
    refuses(smallModel(BASE), /no pieces/);
    refuses(smallModel([...BASE, ['', 0]]), /piece 3 is empty/);
    refuses(smallModel([...BASE, ['a', 0], ['b', 0], ['a', 0]]), /twice/);
    refuses(smallModel([...BASE, ['a\0b', 0]]), /null/);
    refuses(smallModel([...BASE, ['a', Number.NaN]]), /no number/);
    refuses(smallModel([...BASE, ['a', 0], ['<0x41>', 0, BYTE]]), /byte piece 4/);
    refuses(smallModel([...BASE, ['a', 0]], [0x98, 2, 1]), /byte pieces are missing/);
    refuses(smallModel([...BASE, ['a'.repeat(2000), 0]]), /2000 bytes/);
  });

  it('are refused where the normalisation table leads outside itself', () => {
    const table = (units: number[], replacements: number[]): Buffer => {
      const bytes = Buffer.alloc(4 + 4 * units.length);
      bytes.writeUInt32LE(4 * units.length, 0);
      units.forEach((unit, i) => {
        bytes.writeUInt32LE(unit, 4 + 4 * i);
      });
      return field(2, Buffer.concat([bytes, Buffer.from(replacements)]));
    };
    const model = (charsmap: Buffer): Uint8Array => smallModel([...BASE, ['a', 0]], [], charsmap);
    refuses(model(table([0x100], [0, 0, 0, 0])), /no end|outside itself/);
    refuses(model(table([(5000 << 10) | 0x100], [65, 0])), /outside itself/);
    refuses(model(table([0], [65, 66])), /no end/);
    refuses(model(table([0], [...new Uint8Array(3000).fill(65), 0])), /endless/);
    refuses(model(field(2, Buffer.from([255, 255, 0, 0, 65, 65, 65, 0]))), /does not fit/);
  });

  it('never hang or crash when damaged', () => {
    const damage = fc.array(fc.tuple(fc.nat(spm.length - 1), fc.nat(255)), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(damage, fc.option(fc.nat(spm.length)), (changes, length) => {
        const bytes = spm.slice(0, length ?? spm.length);
        for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
        let damaged: Tokenizer;
        try {
          damaged = Tokenizer.fromBytes(bytes);
        } catch (error) {
          assert.ok(error instanceof InputError, String(error));
          return;
        }
        const { ids } = damaged.encode('A picture of ﬁne １２ \u3000 日本 cats\u200b, é 😀.');
        for (const id of ids) assert.ok(id >= 0 && id < damaged.vocabularySize);
        assert.equal(typeof damaged.decode(ids), 'string');
      }),
      { numRuns: 150 },
    );
  });

  it('load from a path, a file URL, a Blob and bytes, and a missing one is named', async () => {
    const url = new URL('tokenizer.spm', fixtures);
    for (const source of [fileURLToPath(url), url, new Blob([spm]), spm]) {
      assert.equal((await Tokenizer.load(source)).pieceCount, 4000);
    }
    await assert.rejects(
      Tokenizer.load('/nowhere/my.spm'),
      (error) => error instanceof InputError && /There is no file \/nowhere\/my\.spm/.test(error.message),
    );
    const folder = mkdtempSync(join(tmpdir(), 'tokenizer-'));
    try {
      await assert.rejects(Tokenizer.load(folder), /is a folder/);
      writeFileSync(join(folder, 'text.spm'), 'just a text\n');
      await assert.rejects(Tokenizer.load(join(folder, 'text.spm')), (error) => {
        return error instanceof InputError && error.message.includes('text.spm is not a SentencePiece model');
      });
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
