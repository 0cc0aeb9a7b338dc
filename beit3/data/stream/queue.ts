/** Batches of streamed samples, loaded ahead, whose place in the data is exact all the same. */
import { InputError } from '../../../core/errors.js';
import { inNode, processorCount } from '../../../core/runtime.js';
import { BrokenPicture, localLoader, type PictureLoader } from '../loader/pictures.js';
import { generatorOf } from '../loader/random.js';
import { buildTransform, type TransformSpec } from '../transforms/index.js';
import type { ImageSample, Resumable, SampleStream } from './stream.js';

export interface QueueOptions {
  /** Batches that are loaded ahead; default 2. */
  readonly prefetch?: number;
}

interface Saved {
  /** Batches drawn so far. */
  readonly index: number;
  readonly streams: Readonly<Record<string, unknown>>;
}

/** How a batch comes about: samples are drawn from the streams in turn, and then made a batch beside other work. */
export interface BatchMaker<D, B> {
  draw(index: number): Promise<D>;
  make(drawn: D, index: number): Promise<B>;
  close(): Promise<void>;
}

const PREFETCH = 2;

/** Batches one after the other, each a function of its number and of the samples that the streams gave for it. */
export class BatchQueue<D, B> implements Resumable {
  #index = 0;
  /** Where the streams stood behind the batch that was given last. */
  #given: Saved;
  #ahead: { readonly batch: Promise<B>; readonly behind: Saved }[] = [];
  #drawing: Promise<unknown> = Promise.resolve();
  #isClosed = false;

  constructor(
    private readonly streams: Readonly<Record<string, SampleStream<unknown>>>,
    private readonly maker: BatchMaker<D, B>,
    private readonly options: QueueOptions = {},
  ) {
    this.#given = this.#now();
  }

  #now(): Saved {
    const places = Object.entries(this.streams).map(([name, stream]) => [name, stream.position()]);
    return { index: this.#index, streams: Object.fromEntries(places) };
  }

  async next(): Promise<B> {
    if (this.#isClosed) throw new InputError('The batches are closed; make new ones.');
    const { prefetch = PREFETCH } = this.options;
    while (this.#ahead.length <= prefetch) this.#ahead.push(await this.#begin());
    const [first] = this.#ahead.splice(0, 1);
    const batch = await first.batch;
    this.#given = first.behind;
    return batch;
  }

  /** Draws the samples of the next batch; its pictures are being loaded on return. */
  async #begin(): Promise<{ readonly batch: Promise<B>; readonly behind: Saved }> {
    const index = this.#index;
    const drawing = this.#drawing.then(() => this.maker.draw(index));
    this.#drawing = drawing.catch(() => {});
    const drawn = await drawing;
    this.#index++;
    const batch = this.maker.make(drawn, index);
    // Whoever takes the batch hears of it; nobody may.
    batch.catch(() => {});
    return { batch, behind: this.#now() };
  }

  position(): unknown {
    return this.#given;
  }

  async restore(position: unknown): Promise<void> {
    const { index, streams } = (position ?? {}) as Partial<Saved>;
    const names = Object.keys(this.streams);
    if (!Number.isSafeInteger(index) || (index as number) < 0 || names.some((name) => streams?.[name] === undefined))
      throw new InputError('The place where the data stood does not fit; begin anew with --resume none.');
    this.#ahead = [];
    for (const name of names) await this.streams[name].restore(streams?.[name]);
    this.#index = index as number;
    this.#given = this.#now();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#ahead = [];
    await this.#drawing;
    await this.maker.close();
    for (const stream of Object.values(this.streams)) await stream.close();
  }
}

export interface PictureOptions {
  readonly transform: TransformSpec;
  readonly seed: number;
  /** Of several processes, which one this is: their pictures vary differently. */
  readonly rank?: number;
  readonly worldSize?: number;
  /** Threads that load pictures; 0 = the caller's own; default: one less than there are processors, at most 8. */
  readonly workers?: number;
  /** Told of each picture that cannot be read. */
  readonly onSkip?: (reason: string) => void;
}

const MOST_WORKERS = 8;

/** Loads and varies the pictures of samples. */
export class StreamedPictures {
  #started: Promise<PictureLoader> | null = null;

  constructor(private readonly options: PictureOptions) {}

  /**
   * The pixels of batch `index`, float32 [3, S, S] each. In the place of a picture that cannot be read stands another of
   * the batch: `from[i]` is the sample whose picture stands at i. Throws InputError where none can be read.
   */
  async load(
    samples: readonly ImageSample[],
    index: number,
  ): Promise<{ readonly pixels: readonly Float32Array[]; readonly from: Int32Array }> {
    const { loaded, reasons } = await this.#loadAll(samples, index);
    const good = [...loaded.keys()].filter((i) => loaded[i] !== null);
    if (good.length === 0)
      throw new InputError(`None of the ${samples.length} pictures of a batch can be read; ${reasons[0]}`);
    const from = Int32Array.from(loaded, (pixels, i) => (pixels === null ? good[i % good.length] : i));
    return { pixels: Array.from(from, (i) => loaded[i] as Float32Array), from };
  }

  /** The same with null in the place of a picture that cannot be read. */
  async loadEach(samples: readonly ImageSample[], index: number): Promise<readonly (Float32Array | null)[]> {
    return (await this.#loadAll(samples, index)).loaded;
  }

  async #loadAll(samples: readonly ImageSample[], index: number) {
    const { seed, rank = 0, worldSize = 1, onSkip } = this.options;
    this.#started ??= this.#start();
    const loader = await this.#started;
    const random = generatorOf(seed, 'picture', 0, index * worldSize + rank);
    const counters = random.integers(samples.length, 0, 2 ** 31);
    const reasons: string[] = [];
    const loaded = await Promise.all(
      samples.map(async ({ picture, where }, i) => {
        const state = { seed: counters[i], counter: 0 };
        try {
          return (await loader.load({ pictures: [picture], random: state, keep: false })).pixels[0];
        } catch (error) {
          if (!(error instanceof BrokenPicture)) throw error;
          reasons.push(`${where}: ${error.message}`);
          return null;
        }
      }),
    );
    for (const reason of reasons) onSkip?.(reason);
    return { loaded, reasons };
  }

  async #start(): Promise<PictureLoader> {
    const { transform, workers = Math.max(1, Math.min((await processorCount()) - 1, MOST_WORKERS)) } = this.options;
    if (workers === 0 || !inNode()) return localLoader(buildTransform(transform));
    const { startThreads } = await import('../loader/threads.js');
    return startThreads(workers, transform);
  }

  async close(): Promise<void> {
    await (await this.#started?.catch(() => undefined))?.close();
  }
}

/** Pictures one below the other, [B, 3, S, S]. */
export function stacked(pixels: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(pixels.length * pixels[0].length);
  pixels.forEach((values, i) => {
    out.set(values, i * values.length);
  });
  return out;
}

/** The next samples of a stream. */
export async function drawn<S>(stream: SampleStream<S>, count: number): Promise<S[]> {
  const samples: S[] = [];
  for (let i = 0; i < count; i++) samples.push(await stream.next());
  return samples;
}
