import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadLabels, parseLabels } from '../../beit3/pipeline/index.js';
import { inputError } from '../checkpoints/helpers.js';

const LABELS = ['yes', 'no', 'two cups'];

test('labels come from lines, JSON and the answer list of VQA', () => {
  for (const text of [
    'yes\nno\ntwo cups\n',
    'yes\r\nno\r\n two cups\r\n\r\n',
    '["yes", "no", "two cups"]',
    '{"1": "no", "0": "yes", "2": "two cups"}',
    '{"no": 1, "yes": 0, "two cups": 2}',
    '{"0": ["n1", "yes"], "1": ["n2", "no"], "2": ["n3", "two cups"]}',
    '{"answer": "yes", "label": 0}\n{"answer": "no", "label": 1}\n{"answer": "two cups", "label": 2}\n',
    '{"answer": "two cups", "label": 2}\n{"answer": "no", "label": 1}\n{"answer": "yes", "label": 0}',
  ]) {
    assert.deepEqual(parseLabels(text, 'labels'), LABELS, text);
  }
  assert.deepEqual(parseLabels('{"answer": "yes", "label": 0}', 'labels'), ['yes']);
});

test('labels that leave a doubt are refused in one sentence', () => {
  for (const [text, why] of [
    ['', /empty/],
    ['yes\n\nno', /label 1 is empty; every class needs a name/],
    ['{"0": "yes", "2": "no"}', /numbered from 0 to 1/],
    ['{"0": "yes", "00": "no"}', /twice/],
    ['[1, 2]', /label 0 is not a text/],
    ['{"answer": "yes", "label": 0}\nno', /holds no labels/],
    ['{"answer": "yes", "label": 0}\n{"answer": "no", "label": 0}', /twice/],
    ['{"__proto__": "yes"}', /./],
    ['{broken', /holds no labels/],
  ] as const) {
    assert.throws(() => parseLabels(text, 'labels'), inputError(why), text);
  }
});

test('label files must be text and of the right number', async () => {
  assert.deepEqual(await loadLabels(new Blob(['yes\nno\ntwo cups']), 3), LABELS);
  assert.deepEqual(await loadLabels(LABELS, 3), LABELS);
  await assert.rejects(loadLabels(LABELS, 4), inputError(/has 3 labels, but the model tells 4 classes apart/));
  await assert.rejects(loadLabels(Uint8Array.of(0xff, 0xfe, 0), 1), inputError(/not a text file/));
});
