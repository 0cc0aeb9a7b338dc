import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { EmojiCorpus, type EmojiEntry } from '../../beit3/emoji/corpus.js';
import { StudyBatches } from '../../beit3/emoji/pretraining/batches.js';
import { parseStudyFlags } from '../../beit3/emoji/pretraining/flags.js';
import { ARMS, RECIPE, studyTimes } from '../../beit3/emoji/pretraining/recipe.js';
import type { ArmResult, SeedResults } from '../../beit3/emoji/pretraining/study.js';
import { armsTable, tokenizerTable } from '../../beit3/emoji/pretraining/table.js';
import type { JointData } from '../../beit3/emoji/zoo/data.js';
import { Generator } from '../../core/random.js';
import '../../index.js';

const COUNT = 400;
const CLASSES = 9;
const STYLES = ['one', 'two'];

/** As many things in two styles, of which only every picture's number matters. */
function chanceData(): JointData {
  const { size } = RECIPE;
  const entries: EmojiEntry[] = Array.from({ length: 2 * COUNT }, (_, image) => ({
    style: STYLES[Math.floor(image / COUNT)],
    hexcode: `1F${image % COUNT}`,
    emoji: '',
    label: `thing ${image % COUNT}`,
    tags: [],
    group: 'objects',
    subgroup: 'parts',
    image,
  }));
  const pixels = new Uint8Array(entries.length * size * size * 3).fill(200);
  return {
    corpus: new EmojiCorpus(size, STYLES, entries, pixels),
    emoji: Array.from({ length: COUNT }, (_, i) => ({
      entries: [entries[i], entries[COUNT + i]],
      texts: [Array.from(new Generator(i).integers(3, 3, 80))],
      label: i % CLASSES,
    })),
    special: { maskId: 80, startId: 0, endId: 2, padId: 1 },
  } as unknown as JointData;
}

describe('the study of pretraining', () => {
  const names = Array.from({ length: CLASSES }, (_, i) => [10 + i]);
  const batches = new StudyBatches(chanceData(), names, 5, { styles: ['one'], share: 1 / 4 });

  it('shows fine-tuning the labelled pictures alone, and tuning all', () => {
    const seen = { retrieval: new Set<number>(), tuning: new Set<number>() };
    for (const purpose of ['retrieval', 'tuning'] as const)
      for (let i = 0; i < 40; i++) for (const id of batches.retrieval(i, purpose).imageIds) seen[purpose].add(id);
    assert.equal(seen.retrieval.size, COUNT / 4);
    assert.ok(Math.max(...seen.retrieval) < COUNT, 'a picture of the other style');
    assert.ok(seen.tuning.size > 1.9 * COUNT, `only ${seen.tuning.size} pictures`);
  });

  it('pairs each class once with a picture of its own', () => {
    for (let i = 0; i < 10; i++) {
      const { imageIds, ids, length } = batches.classification(i);
      assert.deepEqual([...imageIds].sort(), [...Array(CLASSES).keys()]);
      for (const [row, id] of [...imageIds].entries()) assert.equal(ids[row * length + 1], 10 + id);
    }
  });

  it('draws each batch from the seed and its number', () => {
    assert.deepEqual(batches.pretraining(3), batches.pretraining(3));
    assert.notDeepEqual(batches.pretraining(3).pairs, batches.pretraining(4).pairs);
    const { images, pairs } = batches.pretraining(3);
    for (const masked of [images, pairs?.images])
      assert.equal(masked?.predictPatches.length, RECIPE.pretraining.hidden * (masked?.size ?? 0));
  });

  it('gives training from scratch all the time of the longest way', () => {
    const { tokenizer, pretraining, tuning, tuned, pretrained, scratch } = studyTimes(0.5);
    assert.equal(scratch, tokenizer + pretraining + tuning + tuned);
    assert.ok(pretrained <= tuning + tuned);
  });

  it('prints means and seeds, and leaves out what is not complete', () => {
    const trained = { steps: 1, cpuSeconds: 1, loss: 1 };
    const seed = (number: number, arms: readonly string[], r1: number): SeedResults => {
      const scores = { r1, r5: 50, textR1: 9, textR5: 1, acc1: 20, acc5: 40 };
      const result = {
        trained,
        scores: { val: scores, test: scores, zeroShot: scores, zeroShotKnownStyles: scores },
      } as unknown as ArmResult;
      return { seed: number, arms: Object.fromEntries(arms.map((name) => [name, result])) };
    };
    const all = ARMS.flatMap((arm) => [`${arm} retrieval`, `${arm} classification`]);
    const table = armsTable([seed(0, all, 11), seed(1, all, 14), seed(2, all.slice(1), 90)]);
    assert.match(table, /R@1 \| known styles \| 12\.5 \(11\.0, 14\.0\) \|/);
    assert.equal(armsTable([seed(2, all.slice(1), 90)]), '');
    assert.equal(tokenizerTable([seed(0, all, 11)]), '');
  });

  it('refuses flags that cannot be', () => {
    assert.deepEqual(parseStudyFlags([]).seeds, [0, 1, 2]);
    assert.throws(() => parseStudyFlags(['--seeds', '1,1']), /--seeds must be whole numbers, each once/);
    assert.throws(() => parseStudyFlags(['--scale', '0']), /--scale/);
    assert.throws(() => parseStudyFlags(['--resume', 'maybe']), /--resume must be auto or none/);
    assert.throws(() => parseStudyFlags(['--sed', '1']), /--sed/);
  });
});
