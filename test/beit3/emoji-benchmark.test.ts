import assert from 'node:assert/strict';
import { before, describe, it } from 'node:test';
import {
  chance,
  type EmojiBenchmark,
  type EmojiNlvr2Example,
  EmojiQuestions,
  EmojiSentences,
  type EmojiVqaExample,
  emojiBenchmark,
  evaluationSet,
  MEASURED_SPLITS,
  nlvr2Examples,
  trainingTexts,
  vqaExamples,
} from '../../beit3/emoji/benchmark/index.js';
import { EMOJI_STYLES, type EmojiEntry, emojiEntries } from '../../beit3/emoji/corpus.js';
import { cleanText, emojiTexts } from '../../beit3/emoji/text.js';
import { nlvr2Scores } from '../../beit3/metrics/index.js';
import { Generator } from '../../core/random.js';

let corpus: { entries: EmojiEntry[]; styles: readonly string[] };
let benchmark: EmojiBenchmark;
let trainQuestions: EmojiVqaExample[];
let trainPairs: EmojiNlvr2Example[];

before(async () => {
  corpus = { entries: await emojiEntries(), styles: EMOJI_STYLES };
  benchmark = emojiBenchmark(corpus);
  trainQuestions = new EmojiQuestions(benchmark.train).draw(60_000, new Generator(0));
  trainPairs = new EmojiSentences(benchmark.train).draw(60_000, new Generator(0));
});

function countBy<T>(items: readonly T[], key: (item: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(key(item), (counts.get(key(item)) ?? 0) + 1);
  return counts;
}

function groupBy<T>(items: readonly T[], key: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return groups;
}

/** What comes most often with each key. */
function priors<T>(items: readonly T[], key: (item: T) => string, value: (item: T) => string): Map<string, string> {
  const most = (of: readonly T[]): string => [...countBy(of, value)].sort(([, a], [, b]) => b - a)[0][0];
  return new Map([...groupBy(items, key)].map(([name, of]) => [name, most(of)]));
}

const hexcodes = (entries: readonly EmojiEntry[]) => new Set(entries.map((entry) => entry.hexcode));
const share = <T>(items: readonly T[], holds: (item: T) => boolean) => items.filter(holds).length / items.length;

describe('splits of the emoji benchmark', () => {
  it('share out every picture once', () => {
    const sizes = [benchmark.train, ...MEASURED_SPLITS.map((split) => benchmark[split])].map((s) => s.length);
    assert.deepEqual(sizes, [8815, 273, 1723, 191, 1003]);
    const { train, val, test, zeroShot, zeroShotKnownStyles } = benchmark;
    const images = [train, val, test, zeroShot, zeroShotKnownStyles].flat().map((entry) => entry.image);
    assert.equal(new Set(images).size, corpus.entries.length);
  });

  it('keep the style and the emoji apart', () => {
    const { train, val, test, zeroShot, zeroShotKnownStyles } = benchmark;
    assert.ok([...train, ...val, ...zeroShotKnownStyles].every((entry) => entry.style !== 'twemoji'));
    assert.ok([...test, ...zeroShot].every((entry) => entry.style === 'twemoji'));
    const known = hexcodes(train);
    assert.ok([...test, ...val].every((entry) => known.has(entry.hexcode)));
    assert.ok([...zeroShot, ...zeroShotKnownStyles].every((entry) => !known.has(entry.hexcode)));
    assert.deepEqual(hexcodes(zeroShotKnownStyles), hexcodes(zeroShot));
  });

  it('take zero-shot emoji from all larger subgroups in proportion', () => {
    const all = countBy([...benchmark.test, ...benchmark.zeroShot], (entry) => entry.subgroup);
    const held = countBy(benchmark.zeroShot, (entry) => entry.subgroup);
    for (const [subgroup, count] of all) {
      assert.ok(
        Math.abs((held.get(subgroup) ?? 0) - count / 10) < 1.5,
        `${subgroup}: ${held.get(subgroup)} of ${count}`,
      );
    }
  });

  it('follow the seed', () => {
    const same = emojiBenchmark(corpus);
    const other = emojiBenchmark(corpus, { seed: 1 });
    for (const split of ['train', ...MEASURED_SPLITS] as const) assert.deepEqual(same[split], benchmark[split]);
    assert.notDeepEqual(hexcodes(other.zeroShot), hexcodes(benchmark.zeroShot));
    assert.deepEqual([other.classes, other.answers], [benchmark.classes, benchmark.answers]);
  });

  it('hold out what is asked for, and refuse what cannot be', () => {
    const { train, test, zeroShot } = emojiBenchmark(corpus, {
      heldOutStyle: 'fxemoji',
      zeroShotShare: 0,
      valShare: 0,
    });
    assert.deepEqual([train.length, test.length, zeroShot.length], [12005 - 230, 230, 0]);
    assert.throws(() => emojiBenchmark(corpus, { heldOutStyle: 'none' }), { name: 'InputError', message: /"none"/ });
    assert.throws(() => emojiBenchmark(corpus, { zeroShotShare: 0.9 }), { name: 'InputError', message: /0 to 0.5/ });
  });

  it('have classes that are all trained and nearly all tested', () => {
    const { classes, classOf, train, test } = benchmark;
    assert.equal(classes.length, 95);
    assert.equal(new Set(train.map(classOf).filter((label) => label !== undefined)).size, 95);
    assert.equal(new Set(test.map(classOf).filter((label) => label !== undefined)).size, 95);
    assert.ok(share(test, (entry) => classOf(entry) === undefined) < 0.003);
  });
});

describe('what training reads and sees', () => {
  it('has no picture of the unseen style, of zero-shot emoji or of validation', () => {
    const allowed = new Set(benchmark.train);
    const shown = [...trainQuestions.map(({ entry }) => entry), ...trainPairs.flatMap((p) => [p.left, p.right])];
    assert.ok(shown.every((entry) => allowed.has(entry)));
  });

  it('never names a zero-shot emoji', () => {
    const { train, zeroShot } = benchmark;
    const names = new Set(zeroShot.map((entry) => cleanText(entry.label)));
    assert.equal(names.size, 191);
    assert.ok(train.every((entry) => emojiTexts(entry).every((text) => !names.has(text))));
    // A name inside a question or sentence: what stands between its fixed words.
    const named = /^(?:is this|does this have to do with) (.*)\?$|^(?:the left|the right|one) .*?shows? (.*)\.$/;
    const texts = [
      ...trainQuestions.map((q) => q.question),
      ...trainPairs.map((p) => p.sentence),
      ...trainingTexts(benchmark),
    ];
    let slots = 0;
    for (const text of texts) {
      const match = named.exec(text);
      if (!match) continue;
      for (const slot of (match[1] ?? match[2]).split(/ or | and the other /)) {
        slots++;
        assert.ok(
          !names.has(
            slot.replace(/^(an?|the flag of) /, (_, article: string) => (article.startsWith('a') ? '' : 'flag: ')),
          ),
          text,
        );
      }
    }
    assert.ok(slots > 50_000);
  });
});

describe('questions', () => {
  const questionsOf = (split: (typeof MEASURED_SPLITS)[number]) => evaluationSet(benchmark, split).questions;

  it('have each of their answers equally often', () => {
    for (const examples of [trainQuestions, ...MEASURED_SPLITS.map(questionsOf)]) {
      for (const [question, of] of groupBy(examples, (example) => example.question)) {
        const counts = [...countBy(of, ({ answer }) => answer).values()];
        assert.equal(counts.length, of[0].choices, question);
        assert.equal(new Set(counts).size, 1, question);
        assert.equal(new Set(of.map(({ form }) => form)).size, 1, `${question}: one form`);
      }
    }
  });

  it('come in all forms, as many as asked for, answered from the list', () => {
    const forms = countBy(trainQuestions, ({ form }) => form);
    assert.equal(forms.size, 9);
    for (const [form, count] of forms) assert.ok(count > 0.015 * trainQuestions.length, `${form}: ${count}`);
    assert.ok(trainQuestions.every(({ answer }) => benchmark.answers[benchmark.answerOf(answer)] === answer));
    assert.throws(() => benchmark.answerOf('maybe'), /"maybe"/);
    for (const count of [2, 128, 1000]) assert.equal(vqaExamples(benchmark.train, { seed: 5, count }).length, count);
  });

  it('cannot be answered without the picture', () => {
    const answerOf = ({ answer }: EmojiVqaExample) => answer;
    const byText = priors(trainQuestions, ({ question }) => question, answerOf);
    const byForm = priors(trainQuestions, ({ form }) => form, answerOf);
    for (const split of MEASURED_SPLITS) {
      const set = evaluationSet(benchmark, split);
      const { vqa } = chance(benchmark, set);
      const guess = ({ question, form }: EmojiVqaExample) => byText.get(question) ?? byForm.get(form);
      const guessed = 100 * share(set.questions, (example) => guess(example) === example.answer);
      assert.ok(
        guessed <= vqa.accuracy + 1e-9 && guessed > 0.8 * vqa.accuracy,
        `${split}: ${guessed}, ${vqa.accuracy}`,
      );
      // Nor by who has seen the answers of this very split.
      const own = priors(set.questions, ({ question }) => question, answerOf);
      const best = 100 * share(set.questions, ({ question, answer }) => own.get(question) === answer);
      assert.ok(Math.abs(best - vqa.accuracy) < 1e-9);
      for (const [form, accuracy] of Object.entries(vqa.byForm)) {
        const of = set.questions.filter((example) => example.form === form);
        assert.ok(Math.abs(100 * share(of, (e) => own.get(e.question) === e.answer) - accuracy) < 1e-9, form);
      }
    }
  });

  it('are true', () => {
    for (const { entry, question, answer, form } of trainQuestions) {
      const words = new Set(
        emojiTexts(entry)
          .join(' ')
          .split(/[^\p{L}\p{N}]+/u),
      );
      if (form === 'subgroup') assert.equal(answer, entry.subgroup);
      if (form === 'group') assert.equal(answer, entry.group);
      if (form === 'colour' || form === 'direction') assert.match(entry.label, new RegExp(`\\b${answer}`));
      if (form === 'tag') {
        const tag = question.slice('does this have to do with '.length, -1);
        assert.equal(emojiTexts(entry).includes(tag), answer === 'yes', `${question} of ${entry.label}`);
      }
      if (form === 'label' && !question.includes('flag of')) {
        const asked = question.slice('is this '.length, -1);
        const label = cleanText(entry.label);
        assert.equal(asked === label || asked.replace(/^an? /, '') === label, answer === 'yes', question);
        assert.ok(answer === 'yes' || !asked.split(/[^\p{L}\p{N}]+/u).every((word) => words.has(word)), question);
      }
      const ofPerson = cleanText(entry.label).replace(/^(man|woman) /, 'person ');
      if (question === `is this a ${ofPerson}?`) assert.equal(answer, 'yes', `${question} of ${entry.label}`);
      if (question === 'is this an animal?' && answer === 'no') assert.ok(!words.has('animal'));
    }
    const ofTrain = (question: string, label: string) =>
      trainQuestions.find((example) => example.question === question && example.entry.label === label)?.answer;
    assert.equal(ofTrain('is this a bird?', 'penguin'), 'yes');
    assert.equal(ofTrain('is this a flag?', 'penguin') ?? 'no', 'no');
  });

  it('follow the state of the generator and are made fast', () => {
    const maker = new EmojiQuestions(benchmark.train);
    assert.deepEqual(maker.draw(500, new Generator(3)), vqaExamples(benchmark.train, { seed: 3, count: 500 }));
    assert.notDeepEqual(maker.draw(500, new Generator(4)), maker.draw(500, new Generator(3)));
    const generator = new Generator(9);
    maker.draw(128, generator);
    const state = generator.state();
    assert.deepEqual(maker.draw(128, generator), maker.draw(128, new Generator().restore(state)));
    const begin = performance.now();
    maker.draw(5000, generator);
    assert.ok(performance.now() - begin < 2000);
  });

  it('are refused where there is nothing to ask about', () => {
    assert.throws(() => new EmojiQuestions(benchmark.test.slice(0, 1)), { name: 'InputError', message: /two emoji/ });
    const twins = benchmark.test.filter((entry) => /^(man|person) walking$/.test(entry.label));
    assert.equal(twins.length, 2);
    assert.throws(() => vqaExamples([twins[1], { ...twins[1], hexcode: 'x' }], { seed: 0, count: 4 }), /too few/);
  });
});

describe('sentences about two pictures', () => {
  it('are true of as many pairs as not', () => {
    const sets = MEASURED_SPLITS.map((split) => evaluationSet(benchmark, split).pairs);
    for (const examples of [trainPairs, ...sets]) {
      const sum = new Map<string, number>();
      for (const { sentence, label } of examples) sum.set(sentence, (sum.get(sentence) ?? 0) + (label ? 1 : -1));
      assert.deepEqual(
        [...sum].filter(([, left]) => left !== 0),
        [],
      );
    }
    for (const pairs of sets) assert.equal(pairs.length, 2000);
    assert.equal(countBy(trainPairs, ({ form }) => form).size, 9);
    assert.equal(countBy(evaluationSet(benchmark, 'test').pairs, ({ form }) => form).size, 8);
  });

  it('cannot be judged from one picture', () => {
    const pairs = nlvr2Examples(benchmark.test, { seed: 7, count: 20_000 });
    const keys: Record<string, (entry: EmojiEntry) => string> = {
      emoji: (entry) => entry.hexcode,
      subgroup: (entry) => entry.subgroup,
      group: (entry) => entry.group,
    };
    for (const side of ['left', 'right'] as const) {
      for (const [name, key] of Object.entries(keys)) {
        const prior = priors(
          trainPairs,
          (pair) => key(pair[side]),
          ({ label }) => String(label),
        );
        const right = share(pairs, (pair) => prior.get(key(pair[side])) === String(pair.label));
        // 20,000 coins lie within 1.1% three times in 1,000 or less.
        assert.ok(Math.abs(right - 0.5) < 0.015, `${side} ${name}: ${right}`);
      }
    }
    const style = priors(
      trainPairs,
      ({ left, right }) => `${left.style} ${right.style}`,
      ({ label }) => String(label),
    );
    const fresh = nlvr2Examples(benchmark.train, { seed: 8, count: 20_000 });
    const byStyle = share(fresh, (p) => style.get(`${p.left.style} ${p.right.style}`) === String(p.label));
    // The same thing is never shown twice in one style.
    assert.ok(Math.abs(byStyle - 0.5) < 0.03, `styles: ${byStyle}`);
  });

  it('are true', () => {
    for (const { left, right, sentence, label, form } of trainPairs) {
      const says = (entry: EmojiEntry) =>
        [
          cleanText(entry.label),
          `a ${cleanText(entry.label)}`,
          `an ${cleanText(entry.label)}`,
          `the flag of ${cleanText(entry.label).slice(6)}`,
        ].some((name) => sentence.includes(` ${name}.`) || sentence.includes(` ${name} and the other `));
      if (form === 'left') assert.equal(says(left), label, sentence);
      if (form === 'right') assert.equal(says(right), label, sentence);
      if (form === 'one of them') assert.equal(says(left) || says(right), label, sentence);
      if (form === 'one and other') assert.equal(says(left) && says(right), label, sentence);
      if (form === 'same thing') assert.equal(left.hexcode === right.hexcode, label);
      if (form === 'same thing' && label) assert.notEqual(left.style, right.style);
      if (form === 'same kind') assert.equal(left.subgroup === right.subgroup, label);
      if (sentence.endsWith(' show a flag.')) assert.equal(left.group === 'flags' && right.group === 'flags', label);
      if (sentence === 'neither picture shows a flag.')
        assert.ok(label === (left.group !== 'flags' && right.group !== 'flags'));
      if (sentence === 'exactly one picture shows a flag.')
        assert.equal((left.group === 'flags') !== (right.group === 'flags'), label);
    }
  });

  it('are scored as those of NLVR2', () => {
    const pairs = nlvr2Examples(benchmark.test, { seed: 1, count: 402, split: 'test' });
    assert.equal(pairs.length, 400);
    const labels = new Map(pairs.map(({ identifier, label }) => [identifier, label]));
    assert.equal(labels.size, 400);
    const always = new Map([...labels.keys()].map((identifier) => [identifier, true]));
    const scores = nlvr2Scores(always, labels);
    assert.deepEqual([scores.accuracy, scores.consistency, scores.sentences], [50, 0, 100]);
    assert.equal(nlvr2Scores(labels, labels).consistency, 100);
  });

  it('follow the state of the generator', () => {
    const maker = new EmojiSentences(benchmark.train);
    assert.deepEqual(maker.draw(400, new Generator(3)), nlvr2Examples(benchmark.train, { seed: 3, count: 400 }));
    assert.notDeepEqual(maker.draw(400, new Generator(4)), maker.draw(400, new Generator(3)));
    assert.throws(() => new EmojiSentences(benchmark.test.slice(0, 2)), { name: 'InputError', message: /three emoji/ });
  });
});

describe('chance', () => {
  it('is what its names say', () => {
    const set = evaluationSet(benchmark, 'test');
    const result = chance(benchmark, set);
    assert.deepEqual(result.retrieval, { r1: 100 / 1723, r5: 500 / 1723, r10: 1000 / 1723 });
    assert.deepEqual(result.captioning, { exactMatch: 100 / 1723 });
    assert.deepEqual(result.nlvr2, { accuracy: 50, consistency: 6.25 });
    const { acc1, acc5, mostFrequent } = result.classification;
    assert.deepEqual([acc1, acc5], [100 / 95, 500 / 95]);
    const flags = share(set.entries, (entry) => entry.subgroup === 'country flags');
    assert.ok(Math.abs(mostFrequent / 100 - flags) < 0.001);
    assert.equal(result.vqa.byForm.label, 50);
    assert.ok(Math.abs((result.vqa.byForm.group ?? 0) - 100 / 9) < 1e-9);
    const known = chance(benchmark, evaluationSet(benchmark, 'zeroShotKnownStyles'));
    assert.deepEqual(known.captioning, { exactMatch: (100 * 8) / 1003 });
  });
});
