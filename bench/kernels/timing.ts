/** Timing by benchmark.js: deferred, because what a GPU was given has finished only when its `sync` says so. */
import Benchmark from 'benchmark';

export interface Timing {
  /** Seconds a call: median, the fastest, and how many samples. */
  readonly median: number;
  readonly best: number;
  readonly samples: number;
  /** Margin of error of the mean, in per cent. */
  readonly error: number;
}

export interface TimingOptions {
  /** Seconds that the samples may take together. */
  readonly seconds: number;
  /** Seconds that one sample should take at least: calls are repeated before a `sync`. */
  readonly sample: number;
}

/** Times `call`; `sync` waits until the calls so far have finished. */
export async function time(
  call: () => void,
  sync: () => Promise<void>,
  { seconds, sample }: TimingOptions,
): Promise<Timing> {
  const many = async (count: number): Promise<number> => {
    const start = performance.now();
    for (let i = 0; i < count; i++) call();
    await sync();
    return (performance.now() - start) / 1000;
  };
  // Warm: the engine optimises, a GPU compiles and raises its clock.
  let once = await many(1);
  let warm = once;
  while (warm < sample) {
    const took = await many(2);
    once = Math.min(once, took / 2);
    warm += took;
  }
  const calls = Math.max(1, Math.min(10_000, Math.round(sample / once)));
  const { stats } = await run(() => many(calls), seconds);
  const times = [...stats.sample].map((t) => Number(t) / calls).sort((a, b) => a - b);
  return { median: times[times.length >> 1], best: times[0], samples: times.length, error: stats.rme };
}

/** One benchmark to its end. */
function run(work: () => Promise<unknown>, seconds: number): Promise<Benchmark> {
  return new Promise((resolve, reject) => {
    let failure: unknown = null;
    const benchmark = new Benchmark({
      defer: true,
      async: true,
      // Each sample is long enough by itself.
      minTime: 1e-4,
      initCount: 1,
      minSamples: 3,
      maxTime: seconds,
      delay: 0,
      fn(deferred: Benchmark.Deferred) {
        work().then(
          () => deferred.resolve(),
          (error) => {
            failure = error;
            benchmark.abort();
            deferred.resolve();
          },
        );
      },
      onComplete: () => (failure === null ? resolve(benchmark) : reject(failure)),
      onError: () => reject(benchmark.error),
    });
    benchmark.run();
  });
}
