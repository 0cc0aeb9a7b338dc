/**
 * Reads shards once, in a process of its own, and prints what it cost as JSON: `node [--max-old-space-size=N] reader.js JOB`,
 * JOB in JSON. Memory is that of the whole process, native parts and buffers included.
 */
import { createReadStream } from 'node:fs';
import { openPairs } from '../../beit3/data/stream/index.js';
import { Tokenizer } from '../../beit3/tokenizer/index.js';

export interface ReaderJob {
  /** Pairs as training reads them, or the bytes alone. */
  readonly what: 'pairs' | 'bytes';
  /** Files or addresses. */
  readonly shards: readonly string[];
  readonly tokenizer: string;
  /** Pairs of one pass. */
  readonly pairs: number;
}

export interface ReaderFigures {
  readonly seconds: number;
  readonly processorSeconds: number;
  readonly samples: number;
  readonly skipped: number;
  /** Most resident memory, and the most of each quarter of the way, in MiB. */
  readonly peak: number;
  readonly quarters: readonly number[];
  /** Most that lay on the heap of JavaScript, in MiB. */
  readonly heap: number;
}

const MIB = 2 ** 20;
const QUARTERS = 4;

async function read({ what, shards, tokenizer, pairs }: ReaderJob): Promise<ReaderFigures> {
  const quarters = new Array<number>(QUARTERS).fill(0);
  let heap = 0;
  /** Notes the memory at a part of the way. */
  const look = (part: number): void => {
    const { rss, heapUsed } = process.memoryUsage();
    const quarter = Math.min(QUARTERS - 1, Math.floor(part * QUARTERS));
    quarters[quarter] = Math.max(quarters[quarter], rss / MIB);
    heap = Math.max(heap, heapUsed / MIB);
  };
  const words = await Tokenizer.load(tokenizer);
  const begun = performance.now();
  const before = process.cpuUsage();
  let samples = 0;
  let skipped = 0;
  if (what === 'pairs') {
    const stream = await openPairs(shards, { tokenizer: words, maxTokens: 64, seed: 1 });
    for (; samples < pairs; samples++) {
      await stream.next();
      if (samples % 64 === 0) look(samples / pairs);
    }
    skipped = stream.skippedCount;
    await stream.close();
  } else {
    for (const [i, shard] of shards.entries()) {
      const bytes: AsyncIterable<Uint8Array> = /^http/.test(shard)
        ? ((await fetch(shard)).body as unknown as AsyncIterable<Uint8Array>)
        : createReadStream(shard, { highWaterMark: 1 << 18 });
      for await (const _ of bytes);
      look(i / shards.length);
    }
  }
  const seconds = (performance.now() - begun) / 1000;
  const { user, system } = process.cpuUsage(before);
  return {
    ...{ seconds, processorSeconds: (user + system) / 1e6, samples, skipped },
    ...{ peak: Math.max(...quarters), quarters, heap },
  };
}

process.stdout.write(`${JSON.stringify(await read(JSON.parse(process.argv[2]) as ReaderJob))}\n`);
