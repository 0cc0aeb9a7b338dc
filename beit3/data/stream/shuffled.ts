/** From records that lie one after the other in shards to a shuffled stream of samples. */
import { InputError } from '../../../core/errors.js';
import { generatorOf } from '../loader/random.js';
import type { SampleStream } from './stream.js';

/** A place in a shard, as its source counts; [] is the beginning. */
export type Place = readonly number[];

/** A record, and the place behind it. */
export interface Record<R> {
  readonly record: R;
  readonly next: Place;
  /** Bytes that it holds in memory, about. */
  readonly bytes: number;
}

/** Where records come from. */
export interface RecordSource<R, S> {
  readonly shards: readonly string[];
  /** The records of a shard from a place on. Throws InputError for a shard that cannot be read. */
  read(shard: number, from: Place): AsyncIterable<Record<R>>;
  /** Makes a sample of a record. Throws InputError for one that is broken. */
  sample(record: R, epoch: number): S;
}

export interface ShuffleOptions {
  /** A whole number below 2^53 from which the order comes; 0 without it. */
  readonly seed?: number;
  /** Records that are shuffled at a time; 1000 without it. 1 keeps the order of each shard. */
  readonly buffer?: number;
  /** Bytes that they may hold together; 64 MiB without it. */
  readonly bufferBytes?: number;
  /** Of several processes that share the data: which one this is, and how many there are. */
  readonly rank?: number;
  readonly worldSize?: number;
  /** Told of each broken record that is passed over, by its number from 1. */
  readonly onSkip?: (reason: string, count: number) => void;
}

/** Where reading stands: the place of a shard in the order of the epoch, and the place in it. */
interface Cursor {
  readonly epoch: number;
  readonly shard: number;
  readonly place: Place;
  /** Records of the shard before the place. */
  readonly index: number;
}

/** A shard that is being read, and where it stands. */
interface Reading<R> {
  cursor: Cursor;
  readonly records: AsyncIterator<Record<R>>;
}

/** Records that are shuffled together, all of one epoch. */
interface Block<R> {
  readonly start: Cursor;
  readonly end: Cursor;
  readonly epoch: number;
  /** In the order in which they are given; those that were given are let go. */
  readonly records: (R | null)[];
}

const BUFFER = 1000;
const BUFFER_BYTES = 64 << 20;
/** So many broken records one after the other are no accident. */
const MOST_BROKEN = 1000;

interface Saved {
  readonly start: Cursor;
  readonly given: number;
}

/**
 * Reads shards in an order that each epoch draws anew, fills a buffer, gives its records in random order, and fills it
 * again: all a function of the seed and the data, so that a position is where the buffer began and how much of it was
 * given. Of several processes each reads its own shards, or, where there are fewer shards than processes, its own records.
 */
export class ShuffledStream<R, S> implements SampleStream<S> {
  skippedCount = 0;
  #block: Block<R> | null = null;
  #given = 0;
  #ahead: Promise<Block<R>> | null = null;
  #reading: Reading<R> | null = null;
  #isClosed = false;
  #start: Cursor = { epoch: 0, shard: 0, place: [], index: 0 };
  /** The order that was drawn last. */
  #order: { readonly epoch: number; readonly shards: readonly number[] } | null = null;
  /** Records found in the epoch under way. */
  #found = 0;
  readonly #options: Required<Omit<ShuffleOptions, 'onSkip'>> & Pick<ShuffleOptions, 'onSkip'>;

  constructor(
    private readonly source: RecordSource<R, S>,
    options: ShuffleOptions = {},
  ) {
    this.#options = { seed: 0, buffer: BUFFER, bufferBytes: BUFFER_BYTES, rank: 0, worldSize: 1, ...options };
    const { rank, worldSize } = this.#options;
    if (rank >= worldSize)
      throw new InputError(`--rank ${rank}: expected 0 to ${worldSize - 1}, one of --world-size ${worldSize}.`);
    if (source.shards.length === 0) throw new InputError('There is no file to read training data from.');
  }

  get epoch(): number {
    return this.#block?.epoch ?? this.#start.epoch;
  }

  async next(): Promise<S> {
    for (let broken = 0; ; ) {
      if (this.#isClosed) throw new InputError('The stream is closed; make a new one.');
      if (this.#block === null || this.#given === this.#block.records.length) {
        const block = await this.#take();
        this.#given = 0;
        this.#block = block;
        continue;
      }
      const { records, epoch } = this.#block;
      const record = records[this.#given] as R;
      records[this.#given++] = null;
      try {
        return this.source.sample(record, epoch);
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        this.#skip(error.message);
        if (++broken === MOST_BROKEN)
          throw new InputError(`${MOST_BROKEN} samples one after the other are broken; the last: ${error.message}`);
      }
    }
  }

  position(): unknown {
    if (this.#block === null) return { start: this.#start, given: 0 } satisfies Saved;
    return { start: this.#block.start, given: this.#given } satisfies Saved;
  }

  async restore(position: unknown): Promise<void> {
    const saved = position as Partial<Saved> | null;
    const isWhole = (n: unknown): boolean => Number.isSafeInteger(n) && (n as number) >= 0;
    const { start, given } = saved ?? {};
    const fits =
      start &&
      [start.epoch, start.shard, start.index, given].every(isWhole) &&
      Array.isArray(start.place) &&
      start.place.every(isWhole);
    if (!fits || start.shard > this.source.shards.length)
      throw new InputError('The place where the data stood does not fit; begin anew with --resume none.');
    await this.#ahead?.catch(() => {});
    await this.#stopReading();
    this.#ahead = null;
    this.#start = start;
    this.#block = (given as number) > 0 ? await this.#fill(start) : null;
    this.#given = given as number;
    if (this.#block && this.#given > this.#block.records.length)
      throw new InputError('The data is not what it was when training was saved; begin anew with --resume none.');
    this.#block?.records.fill(null, 0, this.#given);
    if (this.#block) this.#ahead = this.#begin(this.#block.end);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#ahead?.catch(() => {});
    await this.#stopReading();
  }

  #skip(reason: string): void {
    this.skippedCount++;
    this.#options.onSkip?.(reason, this.skippedCount);
  }

  /** The block that was read ahead; the one behind it is being read on return. */
  async #take(): Promise<Block<R>> {
    const block = await (this.#ahead ?? this.#begin(this.#start));
    this.#ahead = this.#begin(block.end);
    return block;
  }

  #begin(start: Cursor): Promise<Block<R>> {
    const block = this.#fill(start);
    // Whoever takes it hears of it; nobody may.
    block.catch(() => {});
    return block;
  }

  async #fill(start: Cursor): Promise<Block<R>> {
    const { buffer, bufferBytes, seed } = this.#options;
    const records: R[] = [];
    let bytes = 0;
    let cursor = start;
    let epochOfRecords = start.epoch;
    while (records.length < buffer && bytes < bufferBytes && !this.#isClosed) {
      const { epoch, shard, index } = cursor;
      const shards = this.#shardsOf(epoch);
      if (shard >= shards.length) {
        if (this.#found === 0 && epoch > start.epoch)
          throw new InputError(`There is no record in ${this.source.shards[0]} and the other files of this kind.`);
        this.#found = 0;
        cursor = { epoch: epoch + 1, shard: 0, place: [], index: 0 };
        // A buffer holds records of one epoch.
        if (records.length > 0) break;
        continue;
      }
      const reading = this.#readerAt(cursor) ?? (await this.#open(cursor, shards[shard]));
      let step: IteratorResult<Record<R>> | null = null;
      try {
        step = await reading.records.next();
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        // The rest of a damaged shard is lost, and nothing else.
        this.#skip(error.message);
      }
      if (!step || step.done) {
        await this.#stopReading();
        cursor = { epoch, shard: shard + 1, place: [], index: 0 };
        continue;
      }
      const { record, next, bytes: size } = step.value;
      if (this.#isOwn(index)) {
        records.push(record);
        epochOfRecords = epoch;
        bytes += size;
        this.#found++;
      }
      cursor = { epoch, shard, place: next, index: index + 1 };
      reading.cursor = cursor;
    }
    const block = { start, end: cursor, epoch: epochOfRecords };
    if (buffer === 1) return { ...block, records };
    const order = generatorOf(seed, 'order', start.epoch, hashOf(start)).permutation(records.length);
    return { ...block, records: Array.from(order, (i) => records[i]) };
  }

  /** What is being read, if it stands at a cursor. */
  #readerAt(cursor: Cursor): Reading<R> | null {
    const at = this.#reading;
    return at && sameCursor(at.cursor, cursor) ? at : null;
  }

  async #open(cursor: Cursor, shard: number): Promise<Reading<R>> {
    await this.#stopReading();
    this.#reading = { cursor, records: this.source.read(shard, cursor.place)[Symbol.asyncIterator]() };
    return this.#reading;
  }

  async #stopReading(): Promise<void> {
    const reading = this.#reading;
    this.#reading = null;
    await reading?.records.return?.();
  }

  #sharesShards(): boolean {
    return this.source.shards.length >= this.#options.worldSize;
  }

  /** Shards of this process in an epoch, in their order. */
  #shardsOf(epoch: number): readonly number[] {
    if (this.#order?.epoch === epoch) return this.#order.shards;
    const { rank, worldSize, seed } = this.#options;
    // A purpose that no block uses; equal for all processes.
    const order = Array.from(generatorOf(seed, 'mix', epoch, 0).permutation(this.source.shards.length));
    const shards = this.#sharesShards() ? order.filter((_, i) => i % worldSize === rank) : order;
    this.#order = { epoch, shards };
    return shards;
  }

  #isOwn(index: number): boolean {
    const { rank, worldSize } = this.#options;
    return this.#sharesShards() || index % worldSize === rank;
  }
}

function sameCursor(a: Cursor, b: Cursor): boolean {
  return a.epoch === b.epoch && a.shard === b.shard && a.index === b.index;
}

/** A number for where a block begins. */
function hashOf({ shard, index }: Cursor): number {
  return (shard * 1_000_003 + index) % 2 ** 31;
}
