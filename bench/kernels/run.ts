/** Every case on every backend: scaled to the device, checked, timed. */
import { backendNames, disposeBackend, loadBackend } from '../../backends/index.js';
import type { Backend } from '../../core/backend.js';
import type { DType } from '../../core/dtype.js';
import { InputError, messageOf } from '../../core/errors.js';
import type { Peer } from '../against/index.js';
import { hardwareOf, machine } from '../hardware.js';
import { bytesMoved, CASES, type Case, type Sizes, scaled } from './cases.js';
import { type Ceiling, ceilingOf } from './ceilings.js';
import { check } from './check.js';
import { Problem } from './problem.js';
import { time } from './timing.js';

export interface KernelOptions {
  /** Backends to measure; default: all. */
  readonly devices?: readonly string[];
  readonly threads?: number;
  readonly adapter?: string;
  /** Names of cases, or the beginnings of some. */
  readonly only?: readonly string[];
  /** Fraction of the whole problems; default: what a call of about 20 ms takes. */
  readonly scale?: number;
  readonly quick?: boolean;
  /** Leaves out the measuring of variants that a backend may do before. */
  readonly untuned?: boolean;
  readonly dtypes?: readonly DType[];
  readonly peers?: readonly Peer[];
  /** Told of each device and row as it comes. */
  readonly onDevice?: (device: Device) => void;
  readonly onRow?: (row: Row) => void;
}

export interface Device {
  readonly name: string;
  /** The adapter of a GPU, or the processor. */
  readonly hardware: string;
  readonly ceiling: Ceiling | null;
  /** Why it was left out. */
  readonly skipped?: string;
}

export interface Row {
  readonly device: string;
  /** The framework beside which the device ran; absent for our own. */
  readonly peer?: string;
  readonly name: string;
  readonly dtype: DType;
  readonly sizes: Sizes;
  /** Seconds a call: the fastest sample, because other work on the machine only adds; and the median of all. */
  readonly seconds?: number;
  readonly median?: number;
  readonly samples?: number;
  readonly gflops?: number;
  readonly gbytes?: number;
  /** Per cent of the ceilings of arithmetic and of copying. */
  readonly ofArithmetic?: number;
  readonly ofBandwidth?: number;
  /** How many times the reference backend's operations a second, measured on `referenceSizes`. */
  readonly overReference?: number;
  readonly referenceSizes?: Sizes;
  /** Norm of the difference to the reference backend's result over its norm. */
  readonly error?: number;
  /** Of a peer: our time over its time. */
  readonly ratio?: number;
  /** Why there are no figures. */
  readonly failed?: string;
}

export interface Report {
  readonly date: string;
  readonly machine: string;
  readonly node: string;
  readonly devices: readonly Device[];
  readonly rows: readonly Row[];
}

/** Operations and bytes that a call of about this many seconds may take at half of the ceilings. */
const CALL = { usual: 0.02, quick: 0.002 };

export function selected(only: readonly string[] | undefined): readonly Case[] {
  if (!only || only.length === 0) return CASES;
  const found = CASES.filter((c) => only.some((name) => c.name === name || c.name.startsWith(name)));
  if (found.length > 0) return found;
  throw new InputError(
    `There is no kernel ${only.join(', ')}; expected some of ${CASES.map((c) => c.name).join(', ')}.`,
  );
}

/** The dtypes that a backend computes in. */
const computed = (backend: Backend): DType[] =>
  (['float32', 'float16'] as const).filter((d) => backend.caps.dtypes.has(d) && !backend.caps.storageOnly.has(d));

export async function benchKernels(options: KernelOptions): Promise<Report> {
  const cases = selected(options.only);
  const names = options.devices ?? backendNames();
  const oracle = await loadBackend('reference');
  const devices: Device[] = [];
  const rows: Row[] = [];
  const add = (row: Row) => {
    rows.push(row);
    options.onRow?.(row);
  };
  for (const name of names) {
    const { backend, device } = await open(name, options);
    devices.push(device);
    options.onDevice?.(device);
    if (backend === null || device.ceiling === null) continue;
    for (const of of cases) {
      for (const dtype of computed(backend)) {
        if (options.dtypes && !options.dtypes.includes(dtype)) continue;
        if (of.wideOnly && dtype !== 'float32') continue;
        const sizes = scaled(of, options.scale ?? scaleFor(of, dtype, device.ceiling, options.quick ?? false));
        const row = await measure(of, sizes, dtype, backend, device.ceiling, oracle, options);
        add(row);
        for (const peer of options.peers ?? []) {
          if (of.peer === null || peer.beside !== name) continue;
          add(await besides(peer, of, sizes, dtype, row, options));
        }
      }
    }
    if (name !== 'reference') await disposeBackend(name);
  }
  await disposeBackend('reference');
  return {
    date: new Date().toISOString(),
    machine: machine(),
    node: process.versions.node,
    devices,
    rows,
  };
}

async function open(name: string, options: KernelOptions): Promise<{ backend: Backend | null; device: Device }> {
  try {
    const { threads, adapter } = options;
    const backend = await loadBackend(name, { threads, adapter });
    const ceiling = await ceilingOf(backend, options.quick ?? false);
    return { backend, device: { name, hardware: await hardwareOf(name, adapter), ceiling } };
  } catch (error) {
    // A backend that was asked for by name, or a name that does not exist, is no reason to go on.
    if (!(error instanceof InputError) || options.devices) throw error;
    return { backend: null, device: { name, hardware: '', ceiling: null, skipped: error.message } };
  }
}

const arithmetic = (ceiling: Ceiling, dtype: DType): number =>
  dtype === 'float16' ? (ceiling.matrix ?? ceiling.float16 ?? ceiling.float32) : ceiling.float32;

/** The fraction of a whole problem that takes about as long as a call should. */
function scaleFor(of: Case, dtype: DType, ceiling: Ceiling, quick: boolean): number {
  const whole = Math.max(
    of.flops(of.full) / arithmetic(ceiling, dtype),
    bytesMoved(of, of.full, dtype) / ceiling.bandwidth,
  );
  return (quick ? CALL.quick : CALL.usual) / (2 * whole);
}

const timingOf = ({ quick }: KernelOptions) =>
  quick ? { seconds: 0.05, sample: 0.005 } : { seconds: 1, sample: 0.02 };

async function measure(
  of: Case,
  sizes: Sizes,
  dtype: DType,
  backend: Backend,
  ceiling: Ceiling,
  oracle: Backend,
  options: KernelOptions,
): Promise<Row> {
  const named = { device: backend.name, name: of.name, dtype, sizes };
  let problem: Problem | null = null;
  try {
    const ready = (problem = Problem.create(of, sizes, dtype, backend));
    if (backend.tune && !options.untuned && !of.written) {
      // What is checked and timed is what the tuner chose; a call that writes in place would be one too many.
      ready.call();
      await backend.tune();
    }
    const { error, holds, referenceRate, referenceSizes } = await check(of, sizes, dtype, ready, oracle);
    if (!holds) return { ...named, error, failed: 'wrong: not what the reference backend computes' };
    const timing = await time(
      () => ready.call(),
      () => backend.sync(),
      timingOf(options),
    );
    const seconds = timing.best;
    const perSecond = of.flops(sizes) / seconds;
    const bytes = bytesMoved(of, sizes, dtype) / seconds;
    return {
      ...named,
      seconds,
      median: timing.median,
      samples: timing.samples,
      gflops: perSecond / 1e9,
      gbytes: bytes / 1e9,
      ofArithmetic: (100 * perSecond) / arithmetic(ceiling, dtype),
      ofBandwidth: (100 * bytes) / ceiling.bandwidth,
      overReference: perSecond / referenceRate,
      referenceSizes,
      error,
    };
  } catch (error) {
    return { ...named, failed: messageOf(error).split('\n')[0] };
  } finally {
    problem?.dispose();
  }
}

/** A peer on the same problem. */
async function besides(
  peer: Peer,
  of: Case,
  sizes: Sizes,
  dtype: DType,
  ours: Row,
  options: KernelOptions,
): Promise<Row> {
  const named = { device: ours.device, peer: peer.name, name: of.name, dtype, sizes };
  try {
    const seconds = await peer.time(of, sizes, dtype, timingOf(options));
    if (seconds === null) return { ...named, failed: 'has no counterpart' };
    return {
      ...named,
      seconds,
      gflops: of.flops(sizes) / seconds / 1e9,
      gbytes: bytesMoved(of, sizes, dtype) / seconds / 1e9,
      ratio: ours.seconds === undefined ? undefined : ours.seconds / seconds,
    };
  } catch (error) {
    return { ...named, failed: messageOf(error).split('\n')[0] };
  }
}
