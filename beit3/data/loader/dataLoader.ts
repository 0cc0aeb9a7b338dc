/** Batches of a data set, epoch after epoch. */

import { InputError } from '../../../core/errors.js';
import { inNode, processorCount } from '../../../core/runtime.js';
import type { Task } from '../../config.js';
import { sourceName } from '../../readBytes.js';
import type { TaskBatches } from '../batch.js';
import type { DataSet } from '../dataSet.js';
import { buildTransform, type TransformSpec } from '../transforms/index.js';
import { cachedLoader } from './cache.js';
import { COLLATE, type Loaded } from './collate.js';
import { epochOrder, shareSize } from './order.js';
import { BrokenPicture, isDecoded, localLoader, type PictureLoader } from './pictures.js';
import { generatorOf } from './random.js';

export interface LoaderOptions {
  /** Samples in a batch. */
  readonly batchSize: number;
  /** What happens to each picture. */
  readonly transform: TransformSpec;
  /** Random order, whole batches only, and as many for every rank; else every sample once, in order. */
  readonly training: boolean;
  /** A whole number below 2^53 from which all chance comes; 0 without it. */
  readonly seed?: number;
  /** Of several processes that share an epoch: which one this is, and how many there are. */
  readonly rank?: number;
  readonly worldSize?: number;
  /** Threads that load pictures; 0 = the caller's own. Without it one less than there are processors, at most 8; 0 in a page. */
  readonly workers?: number;
  /** Batches that threads load ahead; 2 without it. */
  readonly prefetch?: number;
  /** Passes over pictures that cannot be read instead of stopping at the first. */
  readonly skipBroken?: boolean;
  /** Told of each sample that is passed over for the first time. */
  readonly onSkip?: (skipped: SkippedSample) => void;
  /** Share of a caption's words that are to be predicted; 0.6 without it. */
  readonly maskProbability?: number;
  /** Tokens in a text, whatever the longest of the batch. */
  readonly padTo?: number;
  /** Decoded pictures are kept for the next epoch up to so many MiB; 256 in training and 0 in evaluation without it. */
  readonly cacheMegabytes?: number;
}

/** A sample that was passed over. */
export interface SkippedSample {
  /** Its number in the data set, and where it comes from. */
  readonly row: number;
  readonly where: string;
  readonly files: readonly string[];
  readonly reason: string;
}

/** A batch that is being loaded; null stands for a sample that is left out. */
interface Ahead<T extends Task> {
  readonly epoch: number;
  readonly batch: number;
  readonly loaded: Promise<readonly (Loaded<T> | null)[]>;
}

const DEFAULT_PREFETCH = 2;
const MOST_WORKERS = 8;
const MASK_PROBABILITY = 0.6;
const CACHE_MEGABYTES = 256;
/** So many samples one after the other are not broken by chance: a folder is missing, or a disk. */
const MOST_BROKEN = 100;
const MOST_NAMED = 1000;

/**
 * Makes batches of a data set. Every batch is a function of the options, the epoch and its number: how many threads
 * load pictures changes nothing, and an epoch can be taken up at any batch. Call `close` in the end.
 */
export class DataLoader<T extends Task> {
  /** Batches in an epoch. */
  readonly batches: number;
  /** Seconds that were waited for batches so far. */
  waitSeconds = 0;
  /** The first samples that were passed over, and how many there are in all. */
  readonly skipped: SkippedSample[] = [];
  private readonly skippedRows = new Set<number>();

  private readonly options: Required<Pick<LoaderOptions, 'seed' | 'rank' | 'worldSize'>> & LoaderOptions;
  private started: Promise<PictureLoader> | null = null;
  private prefetch = 0;
  private ahead: Ahead<T>[] = [];
  private readonly orders = new Map<number, Int32Array>();
  private runs = 0;
  private isClosed = false;

  /** Throws InputError for options that make no sense, and for a training set smaller than a batch. */
  constructor(
    readonly data: DataSet<T>,
    options: LoaderOptions,
  ) {
    this.options = { seed: 0, rank: 0, worldSize: 1, ...options };
    const { batchSize, training, rank, worldSize, seed, workers = 0, prefetch = 0, cacheMegabytes = 0 } = this.options;
    requireWhole('A batch size', batchSize, 1);
    requireWhole('A number of processes', worldSize, 1);
    requireWhole('The number of a process', rank, 0, worldSize - 1);
    requireWhole('A seed', seed, 0);
    requireWhole('A number of threads', workers, 0, 256);
    requireWhole('A number of batches to load ahead', prefetch, 0, 1024);
    if (!(cacheMegabytes >= 0)) throw new InputError(`A cache has 0 megabytes or more, got ${cacheMegabytes}.`);
    const share = shareSize(data.size, this.options);
    this.batches = training ? Math.floor(share / batchSize) : Math.ceil(share / batchSize);
    if (training && this.batches === 0)
      throw new InputError(
        `There are ${share} samples to train on, fewer than a batch of ${batchSize}; use smaller batches.`,
      );
  }

  /** Samples that were passed over, each counted once. */
  get skippedCount(): number {
    return this.skippedRows.size;
  }

  /**
   * The batches of an epoch, from batch `from` on. One epoch at a time: beginning another ends this one. Throws
   * InputError that names row and file for a picture that cannot be read, unless such are skipped: then another sample
   * takes its place in training, and in evaluation the batch is smaller.
   */
  async *epoch(epoch: number, from = 0): AsyncGenerator<TaskBatches[T], void, undefined> {
    requireWhole('An epoch', epoch, 0, 2 ** 30 - 2);
    requireWhole('The number of a batch', from, 0, this.batches);
    const run = ++this.runs;
    let given = 0;
    for (let batch = from; batch < this.batches; batch++) {
      const begun = performance.now();
      const loaded = await this.take(epoch, batch, run);
      const result = this.collate(loaded);
      this.waitSeconds += (performance.now() - begun) / 1000;
      if (result === null) continue;
      given++;
      yield result;
    }
    if (given === 0 && from === 0 && this.skipped.length > 0)
      throw new InputError(
        `None of ${this.data.size} samples can be loaded; ${this.skipped[0].where}: ${this.skipped[0].reason}`,
      );
  }

  /** Frees threads; an epoch under way ends with an error. */
  async close(): Promise<void> {
    this.isClosed = true;
    this.ahead = [];
    await (await this.started?.catch(() => undefined))?.close();
  }

  /** The samples of a batch; those of the next batches are being loaded on return. */
  private async take(epoch: number, batch: number, run: number): Promise<readonly (Loaded<T> | null)[]> {
    if (run !== this.runs) throw new InputError('Another epoch of this loader was begun; take one after the other.');
    if (this.isClosed) throw new InputError('The loader is closed; make a new one.');
    this.started ??= this.start();
    const loader = await this.started;
    if (this.ahead[0]?.epoch !== epoch || this.ahead[0].batch !== batch) this.ahead = [];
    const [first = this.begin(loader, epoch, batch)] = this.ahead.splice(0, 1);
    this.fill(loader, first);
    try {
      return await first.loaded;
    } catch (error) {
      this.ahead = [];
      throw error;
    }
  }

  /** Begins batches behind the last one, in training beyond the end of the epoch. */
  private fill(loader: PictureLoader, first: Ahead<T>): void {
    while (this.ahead.length < this.prefetch) {
      const { epoch, batch } = this.ahead.at(-1) ?? first;
      if (batch + 1 < this.batches) this.ahead.push(this.begin(loader, epoch, batch + 1));
      else if (this.options.training) this.ahead.push(this.begin(loader, epoch + 1, 0));
      else return;
    }
  }

  private async start(): Promise<PictureLoader> {
    const { transform, training, prefetch = DEFAULT_PREFETCH } = this.options;
    const { cacheMegabytes = training ? CACHE_MEGABYTES : 0 } = this.options;
    const { workers = inNode() ? Math.max(1, Math.min((await processorCount()) - 1, MOST_WORKERS)) : 0 } = this.options;
    let loader = localLoader(buildTransform(transform));
    if (workers > 0) {
      if (!inNode()) throw new InputError('In a page pictures are loaded by its own thread; give 0 workers.');
      const { startThreads } = await import('./threads.js');
      loader = await startThreads(workers, transform);
      this.prefetch = prefetch;
    }
    if (this.isClosed) await loader.close();
    return cacheMegabytes > 0 ? cachedLoader(loader, cacheMegabytes * 2 ** 20) : loader;
  }

  private begin(loader: PictureLoader, epoch: number, batch: number): Ahead<T> {
    const { batchSize } = this.options;
    const order = this.orderOf(epoch);
    const places = Math.min(batchSize, order.length - batch * batchSize);
    const loaded = Promise.all(
      Array.from({ length: places }, (_, i) => this.loadPlace(loader, order, epoch, batch * batchSize + i)),
    );
    // Whoever takes the batch hears of it; nobody may.
    loaded.catch(() => {});
    return { epoch, batch, loaded };
  }

  private orderOf(epoch: number): Int32Array {
    let order = this.orders.get(epoch);
    if (order === undefined) {
      for (const old of this.orders.keys()) if (old !== epoch - 1) this.orders.delete(old);
      order = epochOrder(this.data.size, epoch, this.options);
      this.orders.set(epoch, order);
    }
    return order;
  }

  /** The sample at a place of the order, or in training the next one that is not broken. */
  private async loadPlace(
    loader: PictureLoader,
    order: Int32Array,
    epoch: number,
    place: number,
  ): Promise<Loaded<T> | null> {
    const { seed, rank, worldSize, training, skipBroken } = this.options;
    // Numbered among all ranks, each of which has chances of its own.
    const number = place * worldSize + rank;
    for (let tries = 1; ; tries++) {
      const row = order[(place + tries - 1) % order.length];
      const sample = this.data.sample(row);
      const where = this.data.where(row);
      try {
        const random = generatorOf(seed, 'picture', epoch, number).state();
        const { pixels } = await loader.load({ pictures: sample.pictures, random, keep: false });
        return { sample, where, pixels, random: generatorOf(seed, 'mask', epoch, number) };
      } catch (error) {
        if (!(error instanceof BrokenPicture)) throw error;
        if (!skipBroken) throw new InputError(`${where}: ${error.message}`);
        const files = sample.pictures.map((picture) => (isDecoded(picture) ? where : sourceName(picture, where)));
        this.skip({ row, where, files, reason: error.message });
        if (!training) return null;
        if (tries === Math.min(order.length, MOST_BROKEN))
          throw new InputError(`${tries} samples one after the other cannot be loaded; ${where}: ${error.message}`);
      }
    }
  }

  private skip(skipped: SkippedSample): void {
    if (this.skippedRows.has(skipped.row)) return;
    this.skippedRows.add(skipped.row);
    if (this.skipped.length < MOST_NAMED) this.skipped.push(skipped);
    this.options.onSkip?.(skipped);
  }

  private collate(loaded: readonly (Loaded<T> | null)[]): TaskBatches[T] | null {
    const { maskProbability = MASK_PROBABILITY, padTo } = this.options;
    const { task, classes, vocabulary } = this.data;
    const good = loaded.filter((sample) => sample !== null);
    if (good.length === 0) return null;
    return COLLATE[task](good, { maskProbability, padTo, classes, vocabulary });
  }
}

function requireWhole(what: string, value: number, least: number, most = Number.MAX_SAFE_INTEGER): void {
  if (Number.isSafeInteger(value) && value >= least && value <= most) return;
  const to = most === Number.MAX_SAFE_INTEGER ? 'on' : `to ${most}`;
  throw new InputError(`${what} is a whole number from ${least} ${to}, got ${value}.`);
}
