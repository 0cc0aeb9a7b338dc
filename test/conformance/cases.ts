/**
 * What every backend must pass, as plain data: for each op its samples in every dtype and layout, random shapes, special
 * values and large grids. Needs no test runner: Node, a page and the stand-alone program run the same.
 */
import fc from 'fast-check';
import type { Attrs, Backend } from '../../core/backend.js';
import { type DType, isFloat } from '../../core/dtype.js';
import { messageOf } from '../../core/errors.js';
import { sizeOf } from '../../core/layout.js';
import type { OpDefinition, Sample } from '../../core/op.js';
import { compareOn, type Oracle } from '../support/run.js';
import { DEPENDENT, layoutsOf, resized, sampledOps, type Trial } from '../support/samples.js';
import { HUGE, LARGE, SLACK } from './large.js';
import { combinations, SPECIALS } from './specials.js';

/** Samples in all dtypes and layouts; random shapes; NaN, infinities and zeros; more than 65,535 workgroups. */
export const PARTS = ['samples', 'shapes', 'specials', 'large'] as const;
export type Part = (typeof PARTS)[number];

/** How much is run: a software adapter takes long over every new kernel. */
export interface Effort {
  /** Random cases of an op. */
  readonly runs: number;
  /** Whether samples are run in every layout for every dtype; else in every layout for float32, in one for each other. */
  readonly layouts: 'every' | 'some';
  /** How large grids get: the usual ones, with more than 65,535 rows, with tens of millions of elements. */
  readonly grids: 'usual' | 'rows' | 'huge';
}

export interface Outcome {
  /** Results that were compared with the oracle's. */
  readonly compared: number;
  /** What differs, at most a few: where the worst element is, what it is and what it should be. */
  readonly failures: readonly string[];
}

export interface Case {
  readonly op: string;
  readonly part: Part;
  run(backend: Backend, oracle: Oracle, effort: Effort): Promise<Outcome>;
}

type Op = OpDefinition<Attrs>;

const DTYPES: readonly DType[] = ['float32', 'float16', 'bfloat16', 'int32', 'uint8', 'bool'];
const SIZES = [0, 1, 2, 3, 4, 5, 7, 8, 13, 17, 31, 33, 65];
/** The oracle is slow. */
const MOST_ELEMENTS = 6000;
const MOST_FAILURES = 5;
const SEED = 2023;
/** Its log-sum-exp is that of its logits, and where one is special so is the other. */
const NOT_SPECIAL = ['crossEntropyBackward'];
/** Ops whose options hold the sizes of their operands: other sizes are refused. */
const FIXED = ['fold', 'reshape'];

/** All cases, by op. */
export function conformanceCases(): Case[] {
  const out: Case[] = [];
  for (const { op, samples } of sampledOps()) {
    if (DEPENDENT.includes(op.name)) continue;
    const add = (part: Part, run: Case['run']) => out.push({ op: op.name, part, run });
    add('samples', (backend, oracle, { layouts }) =>
      compareEach(everySample(op, samples, layouts === 'every'), backend, oracle),
    );
    const takesTensors = samples.some((s) => s.inputs.length > 0);
    if (takesTensors && !FIXED.includes(op.name))
      add('shapes', (backend, oracle, { runs }) => randomShapes(op, samples, runs, backend, oracle));
    if (takesTensors && !NOT_SPECIAL.includes(op.name))
      add('specials', (backend, oracle) => compareEach(specials(op, samples), backend, oracle));
    const [large, huge] = [LARGE[op.name] ?? [], HUGE[op.name]];
    if (large.length > 0 || huge) {
      add('large', async (backend, oracle, effort) => {
        const trials = large.map((sample) => trial(op, sample, { seed: 5 }));
        const { compared, failures } = await compareEach(trials, backend, oracle, SLACK);
        if (!huge || effort.grids !== 'huge') return { compared, failures };
        const failure = await huge(op, backend);
        return { compared: compared + 1, failures: failure === null ? failures : [...failures, failure] };
      });
    }
  }
  return out;
}

function trial(op: Op, sample: Sample<Attrs>, rest: Partial<Trial>): Trial {
  return { op, sample, dtype: 'float32', layout: 'contiguous', seed: 1, ...rest };
}

function* everySample(op: Op, samples: readonly Sample<Attrs>[], everyLayout: boolean): Iterable<Trial> {
  for (const [i, sample] of samples.entries()) {
    for (const [k, dtype] of DTYPES.entries()) {
      const all = layoutsOf(op);
      const layouts = everyLayout || dtype === 'float32' ? all : [all[(i + k) % all.length]];
      for (const layout of layouts) yield trial(op, sample, { dtype, layout, seed: 31 * i + 1 });
    }
  }
}

/** Every combination of special values through an elementwise op; through others, one in the middle of each operand. */
function* specials(op: Op, samples: readonly Sample<Attrs>[]): Iterable<Trial> {
  if (op.expr) yield trial(op, combinations(samples[0]), {});
  else {
    for (const sample of samples) {
      // No integer stands for an infinity.
      if (op.name === 'cast' && !isFloat((sample.attrs as { dtype: DType }).dtype)) continue;
      for (const special of SPECIALS) yield trial(op, sample, { special });
    }
  }
}

/** Runs trials one after the other and collects what differs. */
async function compareEach(trials: Iterable<Trial>, backend: Backend, oracle: Oracle, slack = 1): Promise<Outcome> {
  let compared = 0;
  const failures: string[] = [];
  for (const t of trials) {
    try {
      compared += await compareOn(oracle, backend, t, slack);
    } catch (error) {
      failures.push(messageOf(error));
      if (failures.length === MOST_FAILURES) break;
    }
  }
  return { compared, failures };
}

/** What a random case consists of. */
const random = fc.record({
  which: fc.nat(),
  sizes: fc.array(fc.constantFrom(...SIZES), { minLength: 8, maxLength: 8 }),
  dtype: fc.constantFrom<DType>('float32', 'float32', 'float32', 'float16', 'bfloat16'),
  layout: fc.nat({ max: 99 }),
  seed: fc.integer({ min: 1, max: 1_000_000 }),
});

async function randomShapes(
  op: Op,
  samples: readonly Sample<Attrs>[],
  runs: number,
  backend: Backend,
  oracle: Oracle,
): Promise<Outcome> {
  let compared = 0;
  const layouts = layoutsOf(op);
  const property = fc.asyncProperty(random, async ({ which, sizes, dtype, layout, seed }) => {
    const next = sizes.values();
    const sample = resized(samples[which % samples.length], () => next.next().value ?? 2);
    fc.pre(sample.inputs.every((x) => !x || sizeOf(x.shape) <= MOST_ELEMENTS));
    // An index into nothing is no case.
    fc.pre(sample.inputs.every((x) => x?.dtype !== 'int32' || x.high !== 0));
    const results = await compareOn(
      oracle,
      backend,
      trial(op, sample, { dtype, layout: layouts[layout % layouts.length], seed }),
    );
    compared += results;
    fc.pre(results > 0);
  });
  const { failed, errorInstance, counterexamplePath } = await fc.check(property, { numRuns: runs, seed: SEED });
  if (!failed) return { compared, failures: [] };
  const why = errorInstance === null ? 'too few shapes fit' : messageOf(errorInstance);
  return { compared, failures: [`${why} (fast-check seed ${SEED}, path ${counterexamplePath})`] };
}
