import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ptbTokenize } from '../../beit3/metrics/ptbTokenizer.js';
import { InputError } from '../../core/errors.js';
import { readJson } from '../support/fixtures.js';

const tokens = (caption: string) => ptbTokenize([caption])[0];

/** What Stanford CoreNLP 3.4.1 and the list of punctuation make of captions, and of words of the kinds covered in random order. */
test('captions are tokenised as the COCO evaluation does', async () => {
  const cases = await readJson<readonly (readonly [caption: string, tokens: string])[]>('ptb_captions.json');
  assert.equal(cases.length, 300);
  const got = ptbTokenize(cases.map(([caption]) => caption));
  cases.forEach(([caption, wanted], i) => {
    assert.equal(got[i], wanted, JSON.stringify(caption));
  });
});

test('punctuation goes, brackets stay as words', () => {
  assert.equal(tokens('A dog, (brown); a cat -- "x"!'), 'a dog -lrb- brown -rrb- a cat x');
  assert.equal(tokens('stop?!'), 'stop ?!');
});

test('a letter keeps its period unless a new sentence follows, in the next caption too', () => {
  assert.deepEqual(ptbTokenize(['a big X.', 'A dog', 'a big X.', 'some dogs']), [
    'a big x',
    'a dog',
    'a big x.',
    'some dogs',
  ]);
  assert.equal(tokens('a big X.'), 'a big x.');
});

test('one result for each caption, whatever line ends and spaces are in it', () => {
  assert.deepEqual(ptbTokenize([]), []);
  assert.deepEqual(ptbTokenize(['', ' ', '...', 'a\r\nb\u2028c\x0bd\n', '']), ['', '', '', 'a b c d', '']);
  assert.equal(tokens('2 1/2 cups'), '2\xa01/2 cups');
});

test('letters of any script are words; soft hyphens and emoji above U+FFFF go, other symbols stay', () => {
  assert.equal(tokens('Ein Café in Île-de-France'), 'ein café in île-de-france');
  assert.equal(tokens('кошка и 猫'), 'кошка и 猫');
  assert.equal(tokens('co\xadop 😀 ☃ \xad'), 'coop ☃');
  assert.equal(tokens('\ud83d lone'), 'lone');
});

test('an endless caption is refused, a long one is read quickly', () => {
  assert.throws(
    () => ptbTokenize(['x'.repeat(10_001)]),
    (e) =>
      e instanceof InputError && /at most 10000 characters, got one of 10001 that begins with "xxxx/.test(e.message),
  );
  const started = performance.now();
  for (const piece of ['a', 'a,', '1.', "a'", 'a-', '<a ', 'a@', '&', '.', '((', "n't", 'www.']) {
    tokens(piece.repeat(Math.floor(10_000 / piece.length)));
  }
  assert.ok(performance.now() - started < 5_000);
});
