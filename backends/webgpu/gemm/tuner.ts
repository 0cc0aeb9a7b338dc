/** Measures the best ways to make the products that a program uses, and remembers the fastest for the adapter. */
import type { View } from '../../../core/backend.js';
import { bytesOf } from '../../../core/dtype.js';
import { InputError } from '../../../core/errors.js';
import { warn } from '../../../core/runtime.js';
import type { GpuBlock } from '../memory.js';
import type { Runtime } from '../runtime.js';
import { namedWay, type Way, wayName, waysFor } from './choose.js';
import { sidesKey, sidesOf } from './load.js';
import { layers, type Product } from './product.js';
import { run } from './run.js';
import { readChoices, writeChoices } from './store.js';

/** What is known of the products on one device. */
interface Tuning {
  /** Grows with every change of the choices. */
  version: number;
  /** Names of the fastest ways by class. */
  readonly choices: Map<string, string>;
  /** A product of each class that was computed. */
  readonly seen: Map<string, Product>;
}

const tunings = new WeakMap<Runtime, Tuning>();

export function tuningOf(rt: Runtime): Tuning {
  let tuning = tunings.get(rt);
  if (!tuning) {
    tuning = { version: 0, choices: new Map(), seen: new Map() };
    tunings.set(rt, tuning);
  }
  return tuning;
}

/** Sizes in steps of the square root of 2. */
const step = (n: number): number => Math.round(2 * Math.log2(Math.max(1, n)));

/** Products of one class are made in the same way. */
export function classOf(product: Product): string {
  const { rows, columns, depth, sums } = product;
  const sizes = [rows, columns, depth, layers(product)].map(step);
  return `${sidesKey(sidesOf(product))}:${sums ? 'd' : ''}:${sizes}`;
}

/** The way to make a product: measured, or else by rule. */
export function chosenWay(rt: Runtime, product: Product): Way {
  const { choices, seen } = tuningOf(rt);
  const key = classOf(product);
  if (!seen.has(key)) seen.set(key, withoutMemory(product));
  const name = choices.get(key);
  return (name !== undefined ? namedWay(rt, product, name) : null) ?? waysFor(rt, product)[0];
}

/** Loads what earlier runs have measured on this adapter. */
export async function loadTuning(rt: Runtime): Promise<void> {
  const tuning = tuningOf(rt);
  for (const [key, name] of await readChoices(rt.facts)) tuning.choices.set(key, name);
  tuning.version++;
}

export interface TuneOptions {
  /** Also on a GPU in software, where it takes long and says nothing of others. */
  readonly software?: boolean;
  /** Told of every class that was measured. */
  readonly log?: (line: string) => void;
}

const TRIED = 8;
const MILLISECONDS = 20;
const MOST_RUNS = 100;

/**
 * Measures the likely ways for every class of products that was computed so far and is not measured yet, and keeps the
 * fastest for this run and for later ones. Returns the number of classes that it measured: 0 on a GPU in software.
 */
export async function tune(rt: Runtime, { software = false, log }: TuneOptions = {}): Promise<number> {
  if (rt.recording) throw new InputError('Products cannot be measured while a step is being captured.');
  const { vendor, architecture, description } = rt.facts;
  if (!software && /swiftshader|llvmpipe|lavapipe/i.test(`${vendor} ${architecture} ${description}`)) return 0;
  const tuning = tuningOf(rt);
  const { choices, seen } = tuning;
  const missing = [...seen].filter(([key]) => !choices.has(key));
  for (const [key, product] of missing) {
    const name = await fastest(rt, product, log);
    choices.set(key, name);
    log?.(`${key} -> ${name}`);
  }
  if (missing.length > 0) {
    tuning.version++;
    await writeChoices(rt.facts, choices).catch((error: unknown) =>
      warn(`What was measured is lost with this run: ${error instanceof Error ? error.message : error}.`),
    );
  }
  return missing.length;
}

async function fastest(rt: Runtime, known: Product, log: TuneOptions['log']): Promise<string> {
  const blocks: GpuBlock[] = [];
  const product = withMemory(rt, known, blocks);
  try {
    let best = { name: '', time: Infinity };
    for (const way of waysFor(rt, product).slice(0, TRIED)) {
      const time = await timeOf(rt, product, way);
      log?.(`  ${wayName(way)} ${(1000 * time).toFixed(1)} us`);
      if (time < best.time) best = { name: wayName(way), time };
    }
    return best.name;
  } finally {
    for (const block of blocks) rt.memory.free(block);
  }
}

/** Milliseconds of one product: on the GPU's clock, or on ours where it has none. */
async function timeOf(rt: Runtime, product: Product, way: Way): Promise<number> {
  const several = async (count: number): Promise<number> => {
    await rt.sync();
    const timer = rt.startTimer();
    const start = performance.now();
    for (let i = 0; i < count; i++) run(rt, product, way);
    await rt.sync();
    const passed = performance.now() - start;
    const kernels = (await timer?.stop()) ?? [];
    const busy = kernels.reduce((sum, kernel) => sum + kernel.end - kernel.start, 0);
    return (busy > 0 ? busy : passed) / count;
  };
  // The first compiles the kernels.
  await several(1);
  const estimate = await several(3);
  const count = Math.max(3, Math.min(MOST_RUNS, Math.ceil(MILLISECONDS / Math.max(estimate, 1e-3))));
  return Math.min(await several(count), await several(count));
}

const isView = (value: unknown): value is View => typeof value === 'object' && value !== null && 'block' in value;

/** A product with every view replaced by what `change` makes of it. */
function withViews(product: Product, change: (view: View) => View): Product {
  const entries = Object.entries(product).map(([key, value]) => {
    if (key === 'a' || key === 'b') return [key, { ...value, view: change(value.view) }];
    return [key, isView(value) ? change(value) : value];
  });
  return Object.fromEntries(entries) as Product;
}

/** A product without its memory: of that only the part that the product reaches, at the same place within four elements. */
const withoutMemory = (product: Product): Product =>
  withViews(product, (view) => {
    const reach = (sign: 1 | -1) =>
      view.shape.reduce((sum, d, i) => sum + Math.max(0, sign * view.strides[i]) * Math.max(0, d - 1), 0);
    const before = reach(-1);
    const offset = before + ((((view.offset - before) % 4) + 4) % 4);
    return { ...view, offset, block: { bytes: bytesOf(view.dtype) * (offset + reach(1) + 1) } };
  });

/** A product in memory of its own, which is added to `blocks`. */
const withMemory = (rt: Runtime, product: Product, blocks: GpuBlock[]): Product =>
  withViews(product, (view) => {
    const block = rt.memory.alloc(view.block.bytes, false);
    blocks.push(block);
    return { ...view, block };
  });
