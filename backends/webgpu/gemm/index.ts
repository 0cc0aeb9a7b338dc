/** Matrix products on the GPU: chooses a kernel for a product and starts it. */
import type { Runtime } from '../runtime.js';
import { finishKey, finishOf } from './finish.js';
import { sidesKey, sidesOf } from './load.js';
import { layers, type Product } from './product.js';
import { type Plan, plan, start } from './run.js';
import { chosenWay, tuningOf } from './tuner.js';

/** Plans by all that they follow from; choosing takes longer than starting. */
const plans = new WeakMap<Runtime, { readonly version: number; readonly known: Map<string, Plan> }>();
const MOST_PLANS = 10_000;

/** Computes a product; rows, columns, layers and the depth may be 0. */
export function multiply(rt: Runtime, product: Product): void {
  const { rows, columns, depth, split, batch } = product;
  if (rows * columns * layers(product) === 0) return;
  const { version } = tuningOf(rt);
  let entry = plans.get(rt);
  if (!entry || entry.version !== version || entry.known.size >= MOST_PLANS) {
    entry = { version, known: new Map() };
    plans.set(rt, entry);
  }
  const sizes = [rows, columns, depth, split?.before, split?.all, ...batch];
  const key = `${sidesKey(sidesOf(product))}:${finishKey(finishOf(product))}:${sizes}`;
  let found = entry.known.get(key);
  if (!found) {
    found = plan(rt, product, chosenWay(rt, product));
    entry.known.set(key, found);
  }
  start(rt, product, found);
}
