/**
 * `npm run bench:stream`: reading WebDataset shards that are many times larger than the heap, from files and from a web
 * server, beside plain reading of the same bytes and Python's tarfile in the same run; see --help.
 */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { flagsOf, main } from './flags.js';
import { machine } from './hardware.js';
import { pythonPeer } from './peer.js';
import type { ReaderFigures, ReaderJob } from './stream/reader.js';
import { runReader, serveFolder } from './stream/run.js';
import { writeShards } from './stream/shards.js';

const FLAGS = {
  heap: ['MIB', 'heap of the process that reads (--max-old-space-size); default: 64'],
  megabytes: ['N', 'size of all shards; default: 10 times the heap'],
  pairs: ['N', 'pairs of a shard; default: 1000'],
  side: ['PIXELS', 'side of the pictures; default: 256'],
  repeats: ['N', 'runs of each, of which the best counts; default: 3'],
  json: ['FILE', 'write the figures to this file, too'],
} as const;

const TARFILE = 'files, Python tarfile';

type Figures = Pick<ReaderFigures, 'seconds' | 'processorSeconds' | 'samples' | 'peak'> & Partial<ReaderFigures>;

interface Row {
  readonly megabytesPerSecond: number;
  /** For a second of processor time of all threads: what other load on the machine changes least. */
  readonly megabytesPerProcessorSecond: number;
  /** Null where bytes alone were read. */
  readonly pairsPerSecond: number | null;
  /** MiB: the most, the most of each quarter of the way, and on the heap of JavaScript. */
  readonly peak: number;
  readonly quarters?: readonly number[];
  readonly heap?: number;
}

function rowOf({ seconds, processorSeconds, samples, peak, quarters, heap }: Figures, bytes: number): Row {
  return {
    megabytesPerSecond: bytes / 1e6 / seconds,
    megabytesPerProcessorSecond: bytes / 1e6 / processorSeconds,
    pairsPerSecond: samples > 0 ? samples / seconds : null,
    ...{ peak, quarters, heap },
  };
}

/** The faster of two runs, with the best processor time and the highest peak of both. */
function better(a: Row | undefined, b: Row): Row {
  if (!a) return b;
  const faster = a.megabytesPerSecond > b.megabytesPerSecond ? a : b;
  const megabytesPerProcessorSecond = Math.max(a.megabytesPerProcessorSecond, b.megabytesPerProcessorSecond);
  return { ...faster, megabytesPerProcessorSecond, peak: Math.max(a.peak, b.peak) };
}

function described(row: Row): string {
  const { megabytesPerSecond, megabytesPerProcessorSecond, pairsPerSecond, peak, quarters, heap } = row;
  const pairs = pairsPerSecond === null ? '' : `, ${pairsPerSecond.toFixed(0)} pairs/s`;
  const memory = quarters
    ? ` (in the quarters of the way ${quarters.map((n) => n.toFixed(0)).join(', ')}; heap ${heap?.toFixed(0)})`
    : '';
  return (
    `${megabytesPerSecond.toFixed(0)} MB/s, ${megabytesPerProcessorSecond.toFixed(0)} MB a second of processor time${pairs}, ` +
    `peak ${peak.toFixed(0)} MiB${memory}`
  );
}

/** The same by Python; null where there is none. */
function tarfile(shards: readonly string[]): Figures | null {
  const script = fileURLToPath(new URL('../../bench/peers/tarfile_stream.py', import.meta.url));
  const answer = pythonPeer(script, shards, 'tarfile');
  if (answer === null) return null;
  const { seconds, processor, samples, peak } = answer;
  return {
    seconds: Number(seconds),
    processorSeconds: Number(processor),
    samples: Number(samples),
    peak: Number(peak),
  };
}

await main(async () => {
  const flags = flagsOf('npm run bench:stream -- [FLAGS]: reading shards that are larger than memory', FLAGS);
  if (flags === null) return;
  const heap = flags.whole('heap', 8, 1e6) ?? 64;
  const megabytes = flags.number('megabytes', 1, 1e6) ?? 10 * heap * 1.048576;
  const repeats = flags.whole('repeats', 1, 100) ?? 3;
  const folder = await mkdtemp(join(tmpdir(), 'azulejo-stream-'));
  try {
    const written = await writeShards(folder, {
      bytes: megabytes * 1e6,
      pairs: flags.whole('pairs', 1, 1e6),
      side: flags.whole('side', 16, 4096),
    });
    const { shards, pairs, bytes, tokenizer } = written;
    console.log(
      `${(bytes / 1e6).toFixed(0)} MB in ${shards.length} shards, ${pairs} pairs of ${(bytes / pairs / 1e3).toFixed(1)} kB; ` +
        `a heap of ${heap} MiB; ${machine()}`,
    );
    const { address, server } = await serveFolder(folder);
    const addresses = shards.map((shard) => `${address}/${basename(shard)}`);
    const job = { shards, tokenizer, pairs };
    const read = async (more: Pick<ReaderJob, 'what'> & Partial<ReaderJob>): Promise<Figures> => {
      const figures = await runReader({ ...job, ...more }, heap);
      if (more.what === 'pairs' && (figures.samples !== pairs || figures.skipped > 0))
        throw new Error(`${figures.samples} of ${pairs} pairs were read`);
      return figures;
    };
    const ways: Record<string, () => Figures | null | Promise<Figures>> = {
      'files, createReadStream': () => read({ what: 'bytes' }),
      'files, openPairs': () => read({ what: 'pairs' }),
      'files, Python tarfile': () => tarfile(shards),
      'http, fetch': () => read({ what: 'bytes', shards: addresses }),
      'http, openPairs': () => read({ what: 'pairs', shards: addresses }),
    };
    const rows = new Map<string, Row>();
    try {
      // One after the other, so that other load on the machine meets all; the best of each counts.
      for (let i = 0; i < repeats; i++) {
        for (const [way, run] of Object.entries(ways)) {
          const figures = await run();
          if (figures) rows.set(way, better(rows.get(way), rowOf(figures, bytes)));
        }
      }
    } finally {
      server.closeAllConnections();
      server.close();
    }
    for (const [way, row] of rows) console.log(`${way.padEnd(23)}  ${described(row)}`);
    if (!rows.has(TARFILE)) console.log(`${TARFILE}    no Python here (AZULEJO_PYTHON names another interpreter)`);
    const own = rows.get('files, openPairs') as Row;
    for (const way of ['files, createReadStream', TARFILE]) {
      const other = rows.get(way);
      if (!other) continue;
      const wall = own.megabytesPerSecond / other.megabytesPerSecond;
      const processor = own.megabytesPerProcessorSecond / other.megabytesPerProcessorSecond;
      console.log(
        `ratio of openPairs to ${way}: ${wall.toFixed(2)} x the speed, by processor time ${processor.toFixed(2)}`,
      );
    }
    const json = flags.text('json');
    if (json === undefined) return;
    const figures = {
      what: 'streaming',
      machine: machine(),
      heap,
      bytes,
      pairs,
      shards: shards.length,
      rows: Object.fromEntries(rows),
    };
    await writeFile(json, `${JSON.stringify(figures, null, 1)}\n`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
