/** Visual tokenizers: official files, training, features in files. test/reference/vqkd.py made what is of the official code. */
import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { disposeBackend, useBackend } from '../../backends/index.js';
import { loadPictures } from '../../beit3/data/loader/pictures.js';
import { stacked } from '../../beit3/data/stream/queue.js';
import { buildTransform } from '../../beit3/data/transforms/index.js';
import type { RunEvent, StepLog } from '../../beit3/training/run.js';
import { loadVqKd } from '../../beit3/vqkd/checkpoint.js';
import { OFFICIAL_TOKENIZERS, parseVqKdConfig } from '../../beit3/vqkd/config.js';
import { encodeImage } from '../../beit3/vqkd/encode.js';
import { FeatureFiles, writeFeatures } from '../../beit3/vqkd/features.js';
import { UseMeter } from '../../beit3/vqkd/meter.js';
import { plainTransform } from '../../beit3/vqkd/pictures.js';
import { NormEmaQuantizer } from '../../beit3/vqkd/quantizer.js';
import { loadTeacher } from '../../beit3/vqkd/teachers/load.js';
import { type TrainVqKdOptions, trainVqKd } from '../../beit3/vqkd/train.js';
import { VqKd } from '../../beit3/vqkd/vqkd.js';
import { openCheckpoint } from '../../checkpoints/index.js';
import { InputError } from '../../core/errors.js';
import { scope } from '../../core/memory.js';
import { Generator, manualSeed } from '../../core/random.js';
import { tensor } from '../../core/tensor.js';
import { Builder, metaBackend, writeValues } from '../../nn/builder.js';
import { assertClose } from '../support/compare.js';
import { fixture, readJson, readTensors } from '../support/fixtures.js';
import { tarOf } from './tars.js';
import { writePhoto, writeTinyCheckpoint } from './tinyModels.js';

const PICTURES = 12;
const CODES = 24;
/** Sizes below those of any recipe; the teacher is the tiny retrieval model, with as many patches. */
const SIZES = {
  ...{ img_size: 32, patch_size: 8, embed_dim: 32, num_heads: 2, encoder_depth: 1 },
  ...{ n_code: CODES, code_dim: 8 },
};

describe('visual tokenizers', async () => {
  const backend = await useBackend('wasm', { threads: 1 });
  let folder = '';
  let teacher = '';
  const at = (name: string): string => join(folder, name);
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'azulejo-vqkd-'));
    teacher = await writeTinyCheckpoint('retrieval', at('teacher.safetensors'));
    await mkdir(at('photos'));
    for (let i = 0; i < PICTURES; i++)
      await writePhoto(at(`photos/${i}.png`), (i * 83) % 256, (i * 151) % 256, (i * 47) % 256, 40 + i, 44);
    await mkdir(at('grey'));
    for (let i = 0; i < 4; i++) await writePhoto(at(`grey/${i}.png`), 255, 255, 255);
  });
  after(async () => {
    await rm(folder, { recursive: true });
    await disposeBackend('wasm');
  });

  const refused = (pattern: RegExp) => (error: unknown) => error instanceof InputError && pattern.test(error.message);

  /** Trains in a folder with everything made anew, as a new process would; gives what it told of its steps. */
  async function train(output: string, options: Partial<TrainVqKdOptions> = {}, seed = 5) {
    manualSeed(seed);
    const notes: string[] = [];
    const steps: StepLog[] = [];
    const start = backend.stats.liveBytes;
    const result = await trainVqKd({
      output: at(output),
      images: [at('photos')],
      ...(options.features ? {} : { teacher }),
      recipe: 'tiny',
      model: SIZES,
      backend,
      workers: 0,
      logDir: null,
      ...options,
      settings: { steps: 8, batch: 6, warmupSteps: 2, lr: 3e-3, ...options.settings },
      onEvent: (event: RunEvent) => {
        if (event.type === 'step') steps.push(event);
        else if (event.type === 'note') notes.push(event.text);
        options.onEvent?.(event);
      },
    });
    assert.equal(backend.stats.liveBytes, start, 'nothing is left behind');
    return { result, notes, steps };
  }

  async function features(output: string, images: readonly string[], extra: object = {}) {
    const loaded = await loadTeacher(teacher, { backend });
    try {
      return await writeFeatures(at(output), loaded, { images, backend, workers: 0, batch: 5, ...extra });
    } finally {
      loaded.dispose();
    }
  }

  it('have the names, shapes and sizes of the official ones', async () => {
    const official = await readJson<Record<string, Record<string, number[]>>>('vqkd/official.json');
    assert.deepEqual(Object.keys(official).sort(), Object.keys(OFFICIAL_TOKENIZERS).sort());
    for (const [name, sizes] of Object.entries(OFFICIAL_TOKENIZERS)) {
      const model = new VqKd(new Builder({ backend: metaBackend(), initialize: false }), parseVqKdConfig(sizes, name));
      const own = Object.fromEntries([...model.namedTensors()].map(([key, { shape }]) => [key, [...shape]]));
      assert.deepEqual(own, official[name], name);
    }
  });

  it('load from an official training checkpoint, with the teacher and the optimiser inside, and give its codes', async () => {
    const expected = await readTensors('vqkd/expected.safetensors');
    const { model, config } = await loadVqKd(fixture('vqkd/training.pth'), { backend });
    assert.deepEqual([config.n_code, config.encoder.mlp_ratio, config.decoder.depth], [20, 1, 1]);
    const { values, shape } = expected.get('vqkd/image') as { values: Float32Array; shape: number[] };
    const codes = scope(() => model.encode(tensor(values, { shape })));
    assert.deepEqual([...((await codes.data()) as Int32Array)], [...(expected.get('vqkd/codes')?.values ?? [])]);
    codes.dispose();
    model.dispose();
  });

  it('see the middle of pictures, seven eighths of the short side, as the official code does; large ones whole', async () => {
    // A red frame of a sixteenth of the side around green.
    const [width, height] = [320, 256];
    const data = new Uint8Array(3 * width * height);
    for (let i = 0; i < width * height; i++) {
      const [x, y] = [i % width, Math.floor(i / width)];
      const isFrame = Math.min(x, width - 1 - x) < 48 || Math.min(y, height - 1 - y) < 16;
      data[3 * i + (isFrame ? 0 : 1)] = 255;
    }
    const redOf = async (size: number): Promise<number> => {
      const job = { pictures: [{ width, height, data }], random: { seed: 0, counter: 0 }, keep: false };
      const [pixels] = (await loadPictures(job, buildTransform(plainTransform(size)))).pixels;
      return pixels.subarray(0, size * size).reduce((n, red) => (red > 0 ? n + 1 : n), 0);
    };
    assert.equal(await redOf(224), 0);
    assert.ok((await redOf(384)) > 10_000);
  });

  it('learn what a teacher sees, with most of their codes in use', async () => {
    await features('all.safetensors', [at('photos')]);
    // So few steps want a codebook that follows fast.
    const sizes = { ...SIZES, decay: 0.9 };
    const settings = { steps: 60, batch: PICTURES, lr: 1e-3, warmupSteps: 10, restartEvery: 10 };
    const { result, steps } = await train('learnt', { features: [at('all.safetensors')], settings, model: sizes });
    const last = steps[steps.length - 1];
    // Pictures are never varied here: 24 codes for 192 patches are all that stands between.
    assert.ok((last.reconstruction as number) < 0.15, `cosine ${1 - Number(last.reconstruction)}`);
    assert.ok((steps[0].reconstruction as number) > 0.7);
    assert.ok(Number(last.use) > 0.8 && Number(last.perplexity) > CODES / 3, JSON.stringify(last));
    const { model, config } = await loadVqKd(result.model as string, { backend });
    assert.deepEqual([config.encoder.num_heads, config.decoder_out_dim], [2, 32]);
    const found = new Set<number>();
    for (let i = 0; i < PICTURES; i++) {
      const codes = await encodeImage(model, at(`photos/${i}.png`));
      assert.equal(codes.length, 16);
      for (const code of codes) found.add(code);
    }
    assert.ok(found.size > 0.6 * CODES && [...found].every((code) => code >= 0 && code < CODES), `${found.size}`);
    model.dispose();
  });

  it('go on where training was ended, to the same weights, codebook and log', async () => {
    const settings = { startBatches: 2, restartDead: true, restartEvery: 3 };
    const exported = { settings, exportFormat: 'pth' } as const;
    const whole = await train('whole', exported);
    const signal = new AbortController();
    const onEvent = (event: RunEvent) => event.type === 'step' && event.step === 4 && signal.abort();
    const first = await train('parts', { ...exported, signal: signal.signal, onEvent });
    assert.deepEqual([first.result.steps, first.result.model], [4, null]);
    // Another state of the generator, as in another process.
    const rest = await train('parts', exported, 77);
    assert.deepEqual([rest.result.steps, rest.steps.length], [8, 4]);
    const valuesOf = async (path: string | null) => {
      const file = await openCheckpoint(path as string);
      const values: Record<string, Uint8Array> = {};
      for (const [name, entry] of file.tensors) values[name] = await entry.read();
      await file.close();
      return values;
    };
    assert.deepEqual(await valuesOf(rest.result.model), await valuesOf(whole.result.model));
    assert.deepEqual(await valuesOf(rest.result.checkpoint), await valuesOf(whole.result.checkpoint));
    const logOf = async (run: string) =>
      (await readFile(at(`${run}/log.jsonl`), 'utf8'))
        .trim()
        .split('\n')
        .map((line) => ({ ...(JSON.parse(line) as object), seconds: 0, dataSeconds: 0 }));
    assert.deepEqual(await logOf('parts'), await logOf('whole'));
    await assert.rejects(
      loadVqKd(whole.result.checkpoint as string),
      refused(/is a training checkpoint; give the model/),
    );
    await assert.rejects(
      train('parts', { ...exported, settings: { ...settings, batch: 5 } }),
      refused(/was written with --batch 6, not 5/),
    );
    // The heads of this width are told by the config inside alone.
    const { model, config } = await loadVqKd(whole.result.model as string, { backend });
    assert.equal(config.encoder.num_heads, 2);
    model.dispose();
  });

  it('are taught by features in files that are those of the teacher itself', async () => {
    await features('one.safetensors', [at('photos')]);
    await features('half.safetensors', [at('photos')], { dtype: 'float16' });
    const one = await FeatureFiles.open([at('one.safetensors')]);
    const half = await FeatureFiles.open([at('half.safetensors')]);
    assert.deepEqual(one.sizes, { kind: 'beit3', width: 32, imageSize: 32, grid: 4 });
    const pictures = [at('photos/11.png'), at('photos/2.png')];
    const [whole, short] = [await one.read(pictures), await half.read(pictures)];
    const loaded = await loadTeacher(teacher, { backend });
    const job = { pictures, random: { seed: 9, counter: 0 }, keep: false };
    const { pixels } = await loadPictures(job, buildTransform(plainTransform(32)));
    const seen = scope(() => loaded.features(tensor(stacked(pixels), { shape: [2, 3, 32, 32] })));
    assert.deepEqual(seen.shape, [2, 16, 32]);
    assertClose(whole, (await seen.data()) as Float32Array, { absolute: 1e-5, relative: 1e-5 }, 'float32');
    assertClose(short, whole, { absolute: 2e-3, relative: 1e-3 }, 'float16');
    seen.dispose();
    loaded.dispose();
    await assert.rejects(
      one.read([at('elsewhere.png')]),
      refused(/no features of .*elsewhere\.png; its pictures have names such as/),
    );
    await one.close();
    await half.close();
    await assert.rejects(FeatureFiles.open([at('one.safetensors'), teacher]), refused(/holds no features/));
    assert.deepEqual(
      (await readdir(folder)).filter((name) => name.endsWith('.tmp')),
      [],
    );
  });

  it('pass over pictures that cannot be read, in folders and shards alike', async () => {
    const photo = await readFile(at('photos/1.png'));
    const members = Array.from({ length: 7 }, (_, i) => ({ name: `9${7 - i}.png`, bytes: photo }));
    // Cut off: the header is that of a picture.
    members.splice(2, 0, { name: '900.png', bytes: photo.subarray(0, 60) });
    await writeFile(at('shard.tar'), tarOf(members));
    const skipped: string[] = [];
    const written = await features('tar.safetensors', [at('shard.tar')], {
      onSkip: (text: string) => skipped.push(text),
    });
    assert.deepEqual(written, { pictures: 8, broken: 1 });
    assert.match(skipped.join(), /shard\.tar: 900\.png/);
    const file = await FeatureFiles.open([at('tar.safetensors')]);
    await assert.rejects(file.read([`${at('shard.tar')}: 900.png`]), refused(/could not be read when/));
    await file.close();
    const options = { images: [at('shard.tar')], features: [at('tar.safetensors')], settings: { steps: 3, batch: 4 } };
    const { steps } = await train('shards', options);
    assert.equal(steps.length, 3);
  });

  it('warn when their codebook collapses', async () => {
    // White all over: what differs is where a patch lies, for which there are 16 places.
    const settings = { steps: 14, batch: 16, restartDead: false };
    const { notes, steps } = await train('grey', { images: [at('grey')], settings, model: { ...SIZES, n_code: 96 } });
    assert.ok(Number(steps[13].use) <= 16 / 96);
    const warned = notes.filter((note) => note.startsWith('The codebook collapses'));
    // Again only where it has halved.
    const shares = warned.map((note) =>
      Number(/only ([\d.]+)% of the codes are in use; --restart-dead/.exec(note)?.[1]),
    );
    assert.ok(shares.length > 0 && shares.length < 4 && shares[0] < 25, notes.join('\n'));
    for (let i = 1; i < shares.length; i++) assert.ok(shares[i] <= shares[i - 1] / 2);
  });

  it('are refused where files and sizes do not fit together', async () => {
    const fails = (options: Partial<TrainVqKdOptions>, pattern: RegExp) =>
      assert.rejects(train('refused', options), refused(pattern));
    await features('small.safetensors', [at('photos')]);
    await fails({ teacher: undefined }, /learns from a teacher; give either/);
    await fails({ images: [] }, /give --images/);
    await fails({ teacher: fixture('formats/zip.pth') }, /is no teacher/);
    await fails({ teacher: at('none.pth') }, /none\.pth/);
    await fails({ model: { ...SIZES, patch_size: 32 } }, /sees 4 x 4 patches of 8 pixels in pictures of 32, not 1 x 1/);
    await fails(
      { features: [at('small.safetensors')], model: { ...SIZES, img_size: 64 } },
      /is of 4 x 4 patches of pictures of 32 pixels, the tokenizer of 8 x 8 of 64/,
    );
    await fails({ model: { ...SIZES, decoder_out_dim: 512 } }, /features of width 512, but those of .* have 32/);
    await fails({ features: [teacher] }, /holds no features/);
    await fails(
      { features: [at('small.safetensors')], teacherLayer: 1 },
      /give --teacher-layer to beit3 vqkd features/,
    );
    await fails({ recipe: 'smal' }, /the nearest is small/);
    await assert.rejects(loadVqKd(teacher), refused(/is no VQ-KD tokenizer/));
  });
});

describe('the meter of a codebook', () => {
  it('counts the last vectors, in the run and in the one that goes on', async () => {
    await useBackend('reference');
    const codes = 3;
    const meter = new UseMeter(new Builder(), codes);
    assert.deepEqual(await meter.add(Int32Array.of(0, 0), 0), { use: 1 / 3, perplexity: 1, isFull: false });
    const half = await meter.add(Int32Array.of(1, 1), 2);
    assert.ok(Math.abs(half.perplexity - 2) < 1e-12 && Math.abs(half.use - 2 / 3) < 1e-12);
    // 96 vectors are looked at: those of the beginning are forgotten.
    const later = await meter.add(new Int32Array(94).fill(2), 4);
    assert.deepEqual([later.use, later.isFull], [2 / 3, true]);
    const other = new UseMeter(new Builder(), codes);
    other.loadStateDict(meter.stateDict());
    for (const one of [meter, other]) assert.equal((await one.add(Int32Array.of(2, 2), 98)).use, 1 / 3);
    meter.dispose();
    other.dispose();
    await disposeBackend('reference');
  });

  it('finds the nearest codes of more vectors than it compares at a time', async () => {
    await useBackend('wasm', { threads: 1 });
    const [M, K, C] = [600, 1 << 15, 2];
    const quantizer = new NormEmaQuantizer(new Builder(), { codes: K, width: C });
    const random = new Generator(2);
    const rows = tensor(random.normal(M * C), { shape: [M, C] });
    const circle = Array.from({ length: K }, (_, i) => (2 * Math.PI * i) / K);
    writeValues(quantizer.embedding.weight, Float32Array.from(circle.flatMap((a) => [Math.cos(a), Math.sin(a)])));
    const all = quantizer.nearest(rows);
    const part = scope(() =>
      quantizer.nearest(tensor(random.restore({ seed: 2, counter: 0 }).normal(8), { shape: [4, C] })),
    );
    const [ids, few] = [(await all.data()) as Int32Array, (await part.data()) as Int32Array];
    assert.equal(ids.length, M);
    assert.deepEqual([...ids.subarray(0, 4)], [...few]);
    const weights = (await quantizer.embedding.weight.data()) as Float32Array;
    const values = (await rows.data()) as Float32Array;
    for (const i of [0, 511, 512, 599]) {
      const [x, y] = [values[2 * i], values[2 * i + 1]];
      const cosine = (x * weights[2 * ids[i]] + y * weights[2 * ids[i] + 1]) / Math.hypot(x, y);
      assert.ok(cosine > 0.9999, `${i}: ${cosine}`);
    }
    for (const one of [rows, all, part]) one.dispose();
    quantizer.dispose();
    await disposeBackend('wasm');
  });
});
