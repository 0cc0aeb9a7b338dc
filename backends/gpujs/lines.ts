/** What is computed along lines of an array: sums and maxima, one result a line. */
import { ARRAY, type DeviceArray, INTEGER, NUMBER, type Program, script } from './engine.js';
import type { Machine } from './machine.js';

const LINE = [
  ['a', ARRAY],
  ['start', INTEGER],
  ['count', INTEGER],
  ['step', INTEGER],
] as const;

/**
 * A sum over a line of `value`, which is about x; in blocks, so that rounding does not add up. The counters are what
 * gpu.js keeps as integers: a step other than 1 makes them floats, which cannot count above 2^24.
 */
const summing = (name: string, value: string, ...more: readonly (readonly [string, string])[]) =>
  script(
    name,
    [...LINE, ...more],
    NUMBER,
    `let total = 0;
     for (let b = 0; b < quotient(count + 63, 64); b++) {
       let part = 0;
       for (let k = 0; k < 64; k++) {
         if (64 * b + k < count) { const x = read(a, start + (64 * b + k) * step); part += ${value}; }
       }
       total += part;
     }
     return total;`,
  );

export const LINE_SUM = summing('lineSum', 'x');
export const LINE_SQUARES = summing('lineSquares', '(x - centre) * (x - centre)', ['centre', NUMBER]);
export const LINE_EXPONENTIALS = summing('lineExponentials', 'exponential(x - shift)', ['shift', NUMBER]);

/** The largest number of a line; NaN wins. */
export const LINE_MAXIMUM = script(
  'lineMaximum',
  LINE,
  NUMBER,
  `let best = read(a, start);
   for (let i = 1; i < count; i++) { best = larger(best, read(a, start + i * step)); }
   return best;`,
);

/** Where it is: the first of equals. */
export const LINE_PLACE = script(
  'linePlace',
  LINE,
  NUMBER,
  `let best = read(a, start);
   let place = 0;
   let position = 0;
   for (let i = 1; i < count; i++) {
     const x = read(a, start + i * step);
     position += 1;
     if (isLess(best, x) + (1 - isEqual(x, x)) * isEqual(best, best) > 0) { best = x; place = position; }
   }
   return place;`,
);

/** Parameters of programs over the rows of a contiguous array, and the line of the running thread. */
export const ROWS = [
  ['a', 'array'],
  ['first', 'integer'],
  ['count', 'integer'],
] as const;
export const START = 'first + this.thread.x * count, count, 1';

/** Programs over the rows of a contiguous array: its position of row 0, and the length of a row. */
const MAXIMUM: Program = {
  functions: [LINE_MAXIMUM],
  parameters: ROWS,
  body: `return lineMaximum(a, ${START});`,
};
/** What exponents are measured from: the maximum, but 0 for a row of -Infinity where that is wanted. */
const SHIFT: Program = {
  functions: [LINE_MAXIMUM],
  parameters: ROWS,
  body: `const top = lineMaximum(a, ${START}); return choose(isEqual(top, -infinite()), 0, top);`,
};
const EXPONENTIALS: Program = {
  functions: [LINE_EXPONENTIALS],
  parameters: [...ROWS, ['shifts', 'array']],
  body: `return lineExponentials(a, ${START}, read(shifts, this.thread.x));`,
};

/** The largest number of each row; with `finite`, 0 for a row of -Infinity alone. */
export const rowMaxima = (m: Machine, a: DeviceArray, first: number, rows: number, count: number, finite = false) =>
  m.engine.run(finite ? SHIFT : MAXIMUM, [a, first, count], rows);

/** Sums of e^(x - shift) over each row. */
export const rowExponentials = (
  m: Machine,
  a: DeviceArray,
  first: number,
  rows: number,
  count: number,
  shifts: DeviceArray,
): DeviceArray => m.engine.run(EXPONENTIALS, [a, first, count, shifts], rows);
