import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { createBackend } from '../../backends/wasm/index.js';
import {
  type Augmentation,
  augmentedPicture,
  EMOJI_AUGMENTATION,
  plainPicture,
  RANDOMS,
} from '../../beit3/emoji/augment.js';
import { EmojiBatches } from '../../beit3/emoji/batches.js';
import { contactSheet, escapeHtml } from '../../beit3/emoji/contactSheet.js';
import { EmojiCorpus, type EmojiEntry } from '../../beit3/emoji/corpus.js';
import { DEFAULTS, parseFlags, usage } from '../../beit3/emoji/flags.js';
import { duration, recallTable, stepTexts } from '../../beit3/emoji/progress.js';
import { searchStyle } from '../../beit3/emoji/search.js';
import { trainEmojiTokenizer } from '../../beit3/emoji/text.js';
import { type EmojiTraining, emojiModelSpec, learningRate, trainEmojiModel } from '../../beit3/emoji/train.js';
import { Tokenizer } from '../../beit3/tokenizer/index.js';
import type { Backend } from '../../core/backend.js';
import { setDefaultBackend } from '../../core/device.js';
import { Generator } from '../../core/random.js';

const SIZE = 8;
const NAMES = 'cat dog fish bird apple pear lemon grape car bus train ship sun moon star cloud'.split(' ');

/** Sixteen things in three styles: one random picture each, which every style shows a little differently. */
function corpus(): EmojiCorpus {
  const generator = new Generator(5);
  const styles = ['one', 'two', 'three'];
  const bytes = SIZE * SIZE * 3;
  const pixels = new Uint8Array(styles.length * NAMES.length * bytes);
  const shapes = NAMES.map(() => generator.uniform(bytes));
  const entries: EmojiEntry[] = styles.flatMap((style, s) =>
    NAMES.map((label, i) => {
      const image = s * NAMES.length + i;
      const noise = generator.uniform(bytes);
      shapes[i].forEach((value, k) => {
        pixels[image * bytes + k] = 255 * (0.8 * value + 0.2 * noise[k]);
      });
      const tags = [`${label} tag`, `other ${label}`];
      return { style, hexcode: `1F${i}`, emoji: '', label, tags, group: 'objects', subgroup: '', image };
    }),
  );
  return new EmojiCorpus(SIZE, styles, entries, pixels);
}

const small = corpus();
const tokenizer = Tokenizer.fromBytes(trainEmojiTokenizer(small.entries, { vocabularySize: 130 }).bytes);
const spec = emojiModelSpec({ width: 32, layers: 1, size: SIZE, patch: 4, vocabulary: tokenizer.vocabularySize });

describe('training on emoji', () => {
  let backend: Backend;
  before(async () => {
    backend = await createBackend({ threads: 2 });
  });
  after(async () => {
    if (setDefaultBackend(null) === backend) setDefaultBackend(null);
    await backend.dispose();
  });
  const training = (more: Partial<EmojiTraining> = {}): EmojiTraining => ({
    corpus: small,
    tokenizer,
    spec,
    backend,
    heldOut: 'three',
    until: { steps: 30 },
    seed: 1,
    batch: 16,
    lr: 3e-3,
    ...more,
  });

  it('learns sixteen pairs by heart, and finds them in a style that it has not seen', async () => {
    const { model, losses } = await trainEmojiModel(training({ until: { steps: 250 }, augmentation: null, labels: 1 }));
    const last = losses.slice(-10).reduce((sum, loss) => sum + loss / 10, 0);
    assert.ok(losses[0] > 2, `it starts near ln 16, at ${losses[0]}`);
    assert.ok(last < 0.05, `and ends at ${last}`);
    const search = await searchStyle(model, small, tokenizer, 'three');
    assert.ok(search.recall.ir_r1 > 90 && search.recall.tr_r1 > 90, JSON.stringify(search.recall));
    const [first] = search.best(3, 5);
    assert.equal(search.best(3, 5).length, 5);
    assert.equal(search.rank(3), search.best(3, 16).findIndex((found) => found.index === 3) + 1);
    assert.ok(first.similarity <= 1.0001 && first.similarity >= search.best(3, 2)[1].similarity);
    model.dispose();
  });

  it('gives the same curve and the same weights for a seed, and others for another', async () => {
    const run = async (seed: number) => {
      const { model, losses } = await trainEmojiModel(training({ seed, until: { steps: 8 } }));
      const weight = await model.vision_head.weight.data();
      model.dispose();
      return { losses, weight: [...weight] };
    };
    const one = await run(1);
    assert.deepEqual(await run(1), one);
    assert.notDeepEqual((await run(2)).losses, one.losses);
  });

  it('goes on from a model that is given', async () => {
    const { model: start, losses: before } = await trainEmojiModel(
      training({ until: { steps: 250 }, augmentation: null, labels: 1 }),
    );
    const again = training({ start, seed: 2, until: { steps: 5 }, augmentation: null, labels: 1 });
    const { model, losses } = await trainEmojiModel(again);
    assert.equal(model, start);
    assert.ok(losses[0] < 0.1 * before[0], `${losses[0]} after ${before[0]}`);
    model.dispose();
  });

  it('holds no more memory after thirty steps than after two, and none in the end', async () => {
    const start = backend.stats.liveBytes;
    const live: number[] = [];
    const { model } = await trainEmojiModel(training({ onStep: () => live.push(backend.stats.liveBytes) }));
    assert.equal(live[29], live[1]);
    assert.ok(live[29] > start);
    model.dispose();
    assert.equal(backend.stats.liveBytes, start);
  });

  it('stops when it is told to, by the clock, and with an error where the loss is lost', async () => {
    const stop = new AbortController();
    const onStep = ({ step }: { step: number }) => {
      if (step === 3) stop.abort();
    };
    const early = await trainEmojiModel(training({ signal: stop.signal, onStep }));
    assert.equal(early.losses.length, 3);
    early.model.dispose();
    const timed = await trainEmojiModel(training({ until: { seconds: 0.05 } }));
    assert.ok(timed.losses.length >= 1 && timed.seconds < 5);
    timed.model.dispose();

    const start = backend.stats.liveBytes;
    await assert.rejects(trainEmojiModel(training({ lr: Number.NaN })), /went astray at step 2.*lower learning rate/);
    assert.equal(backend.stats.liveBytes, start);
  });
});

describe('batches of emoji', () => {
  const make = (seed: number, size = 5, labels?: number) =>
    new EmojiBatches(small, tokenizer, {
      heldOut: 'three',
      size,
      generator: new Generator(seed),
      augmentation: null,
      labels,
    });

  it('never show the held-out style', () => {
    const forbidden = new Set(small.ofStyle('three').map(({ image }) => plain(image).join()));
    const allowed = new Set(
      small.entries.filter(({ style }) => style !== 'three').map(({ image }) => plain(image).join()),
    );
    const batches = make(3, 16);
    const seen = new Set<string>();
    for (let n = 0; n < 40; n++) {
      const { images } = batches.next();
      for (let b = 0; b < 16; b++) seen.add(images.subarray(b * 192, (b + 1) * 192).join());
    }
    assert.ok([...seen].every((picture) => allowed.has(picture) && !forbidden.has(picture)));
    assert.equal(seen.size, 32, 'all the others come');
  });

  it('have each emoji once, in a round too, with its own text', () => {
    const batches = make(4, 5, 1);
    const labels: string[] = [];
    for (let n = 0; n < 16; n++) {
      const { ids, padding, length, images } = batches.next();
      const texts = Array.from({ length: 5 }, (_, b) => {
        const row = ids.subarray(b * length, (b + 1) * length);
        assert.deepEqual(
          [...row].map((id) => Number(id === tokenizer.padId)),
          [...padding.subarray(b * length, (b + 1) * length)],
        );
        return tokenizer.decode(row);
      });
      assert.equal(new Set(texts).size, 5);
      texts.forEach((text, b) => {
        const own = small.entries.filter(({ label }) => label === text).map(({ image }) => plain(image).join());
        assert.ok(own.includes(images.subarray(b * 192, (b + 1) * 192).join()), text);
      });
      labels.push(...texts);
    }
    for (let n = 0; n < 16; n += 3) {
      const round = labels.slice(5 * n, 5 * (n + 3));
      assert.equal(new Set(round).size, round.length, 'none twice in a round');
    }
    assert.equal(new Set(labels).size, 16);
  });

  it('bring texts of about one length together', () => {
    // Tags have two pieces, labels with a tag three.
    const batches = make(6, 4, 0);
    const found = Array.from({ length: 40 }, () => batches.next().length);
    assert.deepEqual([...new Set(found)].sort(), [4, 5]);
  });

  it('are the same for a seed; a batch cannot be larger than the number of emoji', () => {
    const [a, b] = [make(7), make(7)];
    a.next();
    b.next();
    assert.deepEqual(a.next(), b.next());
    assert.notDeepEqual(make(8).next().images, make(7).next().images);
    assert.throws(() => make(1, 17), { name: 'InputError', message: /1 to 16 pictures.*17/ });
  });

  it('take tags where they are not told to take labels alone', () => {
    const texts = new Set<string>();
    const batches = make(9, 16, 0);
    for (let n = 0; n < 20; n++) {
      const { ids, length } = batches.next();
      for (let b = 0; b < 16; b++) texts.add(tokenizer.decode(ids.subarray(b * length, (b + 1) * length)));
    }
    for (const text of ['cat tag', 'cat cat tag', 'other cat', 'cat other cat']) assert.ok(texts.has(text), text);
    assert.ok(!texts.has('cat'));
  });
});

const plain = (image: number): Float32Array => {
  const out = new Float32Array(SIZE * SIZE * 3);
  plainPicture(small.image(image), SIZE, out, 0);
  return out;
};

describe('variations of a picture', () => {
  const vary = (limits: Partial<Augmentation>, random: number[], mirrorable = true, source = small.image(0)) => {
    const still = Object.fromEntries(Object.keys(EMOJI_AUGMENTATION).map((key) => [key, 0])) as unknown as Augmentation;
    const numbers = new Float32Array(RANDOMS).fill(0.5);
    numbers.set(random);
    const out = new Float32Array(SIZE * SIZE * 3);
    augmentedPicture(source, SIZE, numbers, { ...still, ...limits }, mirrorable, out, 0);
    return out;
  };
  const near = (a: Float32Array, b: Float32Array, within = 1e-5) => {
    a.forEach((value, i) => {
      assert.ok(Math.abs(value - b[i]) <= within, `${i}: ${value} and ${b[i]}`);
    });
  };
  const mirrored = (a: Float32Array) => a.map((_, i) => a[i - (i % SIZE) + (SIZE - 1 - (i % SIZE))]);

  it('are the picture itself where nothing may change', () => {
    near(vary({}, []), plain(0));
  });

  it('mirror what bears it', () => {
    near(vary({ mirror: 1 }, []), mirrored(plain(0)));
    near(vary({ mirror: 1 }, [], false), plain(0));
  });

  it('shift by pixels and bring white in', () => {
    const shifted = vary({ shift: 0.5 }, [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1, 0.5]);
    const wanted = plain(0).map((_, i) => (i % SIZE < SIZE - 2 ? plain(0)[i + 2] : 1));
    near(shifted, wanted);
  });

  it('turn a quarter', () => {
    const turned = vary({ turn: Math.PI / 2 }, [0.5, 0.5, 0.5, 0.5, 0.5, 1]);
    // Row r, column c of the new picture is row c, column 7 - r of the old one.
    const wanted = plain(0).map((_, i) => {
      const [plane, row, column] = [i - (i % 64), Math.floor((i % 64) / SIZE), i % SIZE];
      return plain(0)[plane + column * SIZE + (SIZE - 1 - row)];
    });
    near(turned, wanted, 1e-4);
  });

  it('fade to grey, and keep grey under any turn of the hue', () => {
    const grey = vary({ grey: 1 }, []);
    for (let i = 0; i < 64; i++) {
      const mean = (plain(0)[i] + plain(0)[64 + i] + plain(0)[128 + i]) / 3;
      for (const c of [0, 64, 128]) assert.ok(Math.abs(grey[c + i] - mean) < 1e-5);
    }
    const dull = new Uint8Array(SIZE * SIZE * 3).fill(90);
    near(vary({ hue: 2 }, [0.5, 0.5, 0.9], true, dull), vary({}, [], true, dull));
    assert.notDeepEqual(vary({ hue: 1 }, [0.5, 0.5, 0.9]), plain(0));
  });

  it('stay within -1 and 1 and follow their numbers', () => {
    const generator = new Generator(2);
    for (let n = 0; n < 50; n++) {
      const numbers = [...generator.uniform(RANDOMS)];
      const one = vary(EMOJI_AUGMENTATION, numbers);
      assert.ok(one.every((value) => value >= -1 && value <= 1));
      assert.deepEqual(vary(EMOJI_AUGMENTATION, numbers), one);
    }
  });
});

describe('contact sheet', () => {
  const picture = 'data:image/png;base64,AAAA';
  const html = contactSheet({
    title: 'a <b> & "c"',
    summary: ['x < y'],
    cards: [
      {
        pictures: [picture, picture],
        text: 'both & "all"',
        said: [
          { said: '<true>', correct: true },
          { said: 'false', correct: false },
        ],
      },
    ],
    rows: [
      {
        query: '<script>alert(1)</script>',
        wanted: picture,
        rank: 7,
        found: [
          { picture, label: 'it\'s "quoted"', similarity: 0.5, correct: true },
          { picture: '"><img src=x onerror=alert(1)>', label: 'other', similarity: -0.25, correct: false },
        ],
      },
    ],
  });

  it('escapes every text', () => {
    assert.equal(escapeHtml(`<a href="x">'&'</a>`), '&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;');
    assert.ok(!html.includes('<script') && !html.includes('<img src=x'));
    assert.ok(html.includes('<h1>a &lt;b&gt; &amp; &quot;c&quot;</h1>') && html.includes('x &lt; y'));
    assert.ok(html.includes('alt="it&#39;s &quot;quoted&quot;"'));
  });

  it('marks the right pictures, says where one came that is not shown, and loads nothing', () => {
    assert.equal(html.match(/class="correct"/g)?.length, 1);
    assert.ok(html.includes('at place 7') && html.includes('-0.25'));
    assert.equal(html.match(/<img /g)?.length, 5);
    assert.ok(html.includes('<small class="yes">\u2713 &lt;true&gt;</small><small>\u2717 false</small>'));
    assert.ok(!/(src|href)="(?!data:|&quot;)/.test(html) && !html.includes('url('));
  });
});

describe('flags and lines of the quickstart', () => {
  it('have defaults and are read', () => {
    assert.deepEqual(parseFlags([]), { help: false, steps: undefined, threads: undefined, ...DEFAULTS });
    const flags = parseFlags(['--minutes=0.5', '--seed', '7', '--output', 'x', '--threads', '1', '--steps', '9']);
    assert.deepEqual([flags.minutes, flags.seed, flags.output, flags.threads, flags.steps], [0.5, 7, 'x', 1, 9]);
    assert.ok(Object.keys(DEFAULTS).every((name) => usage().includes(`--${name} `)));
  });

  it('of the size are for a model from nothing', () => {
    assert.equal(parseFlags([]).from, 'shipped');
    assert.equal(parseFlags(['--width', '64']).from, 'nothing');
    assert.equal(parseFlags(['--from', 'nothing']).width, DEFAULTS.width);
    assert.throws(() => parseFlags(['--from', 'shipped', '--layers', '1']), /--layers is for a model from nothing/);
    assert.throws(() => parseFlags(['--from', 'here']), /--from must be shipped or nothing, got "here"/);
  });

  it('are refused in one sentence', () => {
    for (const [argv, message] of [
      [['--minute', '3'], /no flag --minute; the nearest is --minutes/],
      [['--seed', '-1'], /--seed must be a whole number from 0/],
      [['--seed'], /--seed needs a value: --seed N/],
      [['--minutes', 'soon'], /--minutes must be a number from 0.01.*"soon"/],
      [['now'], /takes only flags, got "now"/],
    ] as const) {
      assert.throws(() => parseFlags(argv), { name: 'InputError', message });
    }
    assert.throws(
      () => emojiModelSpec({ width: 40, layers: 1, size: 8, patch: 4, vocabulary: 9 }),
      /multiple of 32, got 40/,
    );
    assert.throws(
      () => emojiModelSpec({ width: 32, layers: 1, size: 8, patch: 3, vocabulary: 9 }),
      /multiple of the patch/,
    );
  });

  it('end the command with 2 and without a stack', () => {
    const script = fileURLToPath(new URL('../../beit3/emoji/quickstart.js', import.meta.url));
    const bad = spawnSync(process.execPath, [script, '--layers', 'many'], { encoding: 'utf8' });
    assert.equal(bad.status, 2);
    assert.equal(bad.stderr, 'quickstart: --layers must be a whole number from 1 to 48, got "many".\n');
    const help = spawnSync(process.execPath, [script, '--help'], { encoding: 'utf8' });
    assert.equal(help.status, 0);
    assert.match(help.stdout, /^Usage: npm run quickstart/);
  });

  it('say the step, the speed and the time left, and recall beside chance', () => {
    assert.equal(duration(185.4), '3:05');
    const text = stepTexts(100);
    text({ step: 1, loss: 4, lr: 1e-3, seconds: 1, progress: 0.1 });
    const line = text({ step: 2, loss: 2, lr: 1e-3, seconds: 2, progress: 0.2 });
    assert.equal(line, 'step 2  loss 3.000  lr 1.0e-3  100 images/s  0:08 left');
    const table = recallTable(
      { tr_r1: 1, tr_r5: 5, tr_r10: 10, ir_r1: 12.34, ir_r5: 50, ir_r10: 100, average_score: 0 },
      1914,
    );
    assert.match(table, /pictures from labels +12\.3% +50\.0% +100\.0%/);
    assert.match(table, /chance +0\.05% +0\.26% +0\.52%/);
  });

  it('raise the learning rate and let it fall', () => {
    assert.ok(learningRate(1, 0) > 0 && learningRate(1, 0) < 0.1);
    assert.ok(Math.abs(learningRate(1, 0.05) - 1) < 1e-9);
    assert.ok(Math.abs(learningRate(1, 1) - 0.01) < 1e-9);
    assert.ok(learningRate(1, 0.3) > learningRate(1, 0.6));
  });
});
