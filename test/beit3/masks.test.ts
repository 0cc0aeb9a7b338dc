import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { blockMask } from '../../beit3/pretrain/masks.js';
import { Generator } from '../../core/random.js';
import { readJson } from '../support/fixtures.js';

/** Made by test/reference/masks.py out of the reference's generator. */
interface Case {
  readonly grid: number;
  readonly count: number;
  readonly least: number;
  readonly draws: number;
  readonly shapes: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

/** Sizes of the connected parts of what is hidden. */
function components(mask: Uint8Array, grid: number): number[] {
  const seen = new Uint8Array(mask.length);
  const sizes: number[] = [];
  for (let start = 0; start < mask.length; start++) {
    if (mask[start] === 0 || seen[start] === 1) continue;
    seen[start] = 1;
    const stack = [start];
    let size = 0;
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      size++;
      const x = at % grid;
      const next = [at - grid, at + grid, x > 0 ? at - 1 : -1, x < grid - 1 ? at + 1 : -1];
      for (const to of next) {
        if (to < 0 || to >= mask.length || mask[to] === 0 || seen[to] === 1) continue;
        seen[to] = 1;
        stack.push(to);
      }
    }
    sizes.push(size);
  }
  return sizes;
}

/** What is counted of a mask, one whole number each: `shape_of` of the script. */
function shapeOf(mask: Uint8Array, grid: number): Record<string, number> {
  const hidden = [...mask.keys()].filter((at) => mask[at] === 1);
  const row = (at: number): number => Math.floor(at / grid);
  const column = (at: number): number => at % grid;
  const centre = (of: (at: number) => number): number =>
    Math.floor((2 * hidden.reduce((sum, at) => sum + of(at), 0)) / hidden.length);
  const sizes = components(mask, grid);
  const isInMiddle = (n: number): boolean => n >= 4 && n < 10;
  let edges = 0;
  for (let at = 0; at < mask.length; at++) {
    if (column(at) < grid - 1 && mask[at] !== mask[at + 1]) edges++;
    if (row(at) < grid - 1 && mask[at] !== mask[at + grid]) edges++;
  }
  return {
    components: sizes.length,
    largest: Math.floor(Math.max(...sizes) / 5),
    edges: Math.floor(edges / 4),
    rows: new Set(hidden.map(row)).size,
    columns: new Set(hidden.map(column)).size,
    centreRow: centre(row),
    centreColumn: centre(column),
    middle: Math.floor(hidden.filter((at) => isInMiddle(row(at)) && isInMiddle(column(at))).length / 3),
    corners: mask[0] + mask[grid - 1] + mask[grid * (grid - 1)] + mask[grid * grid - 1],
  };
}

/**
 * How many standard deviations the chi-square of two histograms of as many draws lies above its mean (Wilson and Hilferty
 * 1931). Values that both have less than ten times are counted together.
 */
function surprise(a: ReadonlyMap<number, number>, b: ReadonlyMap<number, number>): number {
  let [square, cells, restA, restB] = [0, 0, 0, 0];
  const add = (m: number, n: number): void => {
    square += (m - n) ** 2 / (m + n);
    cells++;
  };
  for (const value of new Set([...a.keys(), ...b.keys()])) {
    const [m, n] = [a.get(value) ?? 0, b.get(value) ?? 0];
    if (m + n >= 20) add(m, n);
    else [restA, restB] = [restA + m, restB + n];
  }
  if (restA + restB > 0) add(restA, restB);
  const k = cells - 1;
  return (Math.cbrt(square / k) - (1 - 2 / (9 * k))) / Math.sqrt(2 / (9 * k));
}

function histograms(c: Case, options: { readonly least: number; readonly aspect?: number }) {
  const random = new Generator(11);
  const found = new Map<string, Map<number, number>>();
  for (let i = 0; i < c.draws; i++) {
    const mask = blockMask({ grid: c.grid, count: c.count, ...options }, random);
    assert.equal(
      mask.reduce((n, m) => n + m, 0),
      c.count,
    );
    for (const [name, value] of Object.entries(shapeOf(mask, c.grid))) {
      const counts = found.get(name) ?? new Map<number, number>();
      found.set(name, counts.set(value, (counts.get(value) ?? 0) + 1));
    }
  }
  return found;
}

const wanted = (c: Case, name: string) => new Map(Object.entries(c.shapes[name]).map(([k, n]) => [Number(k), n]));

describe('block masks', async () => {
  const cases = await readJson<readonly Case[]>('block_masks.json');

  for (const c of cases) {
    it(`hide exactly ${c.count} of ${c.grid ** 2} patches, in the shapes that the reference draws`, () => {
      const found = histograms(c, { least: c.least });
      // 27 histograms in all: one chance in a thousand that one of them exceeds 4.
      for (const [name, counts] of found) {
        const z = surprise(counts, wanted(c, name));
        assert.ok(z < 4, `${name}: ${z.toFixed(1)} standard deviations`);
      }
    });
  }

  it('would be told from masks of smaller or longer blocks', () => {
    const [c] = cases;
    for (const other of [{ least: 10 }, { least: 16, aspect: 0.5 }]) {
      const found = histograms(c, other);
      const most = Math.max(...Array.from(found, ([name, counts]) => surprise(counts, wanted(c, name))));
      assert.ok(most > 8, `${JSON.stringify(other)}: ${most.toFixed(1)}`);
    }
  });

  it('are exact on any grid and share, the smallest and the largest too', () => {
    const random = new Generator(3);
    for (const grid of [1, 2, 4, 7, 16])
      for (let count = 0; count <= grid * grid; count += Math.max(1, Math.floor(grid / 2))) {
        const mask = blockMask({ grid, count }, random);
        assert.equal(
          mask.reduce((n, m) => n + m, 0),
          count,
        );
      }
  });
});
