/** The norm of all gradients, and steps of AdamW on parameters and moments that stay on the device. */
import type { Kernel, View } from '../../../core/backend.js';
import { bytesOf } from '../../../core/dtype.js';
import { sizeOf } from '../../../core/layout.js';
import type { AdamWStepAttrs } from '../../../core/ops/adamwStep.js';
import type { DeviceArray, ParameterType, Program } from '../engine.js';
import { LINE_SQUARES, LINE_SUM } from '../lines.js';
import { type Machine, place } from '../machine.js';

/** Sums of squares of pieces of an array. */
const PIECES: Program = {
  functions: [LINE_SQUARES],
  parameters: [
    ['a', 'array'],
    ['first', 'integer'],
    ['count', 'integer'],
    ['length', 'integer'],
  ],
  body: `return lineSquares(a, first + this.thread.x * length,
    Math.min(length, count - this.thread.x * length), 1, 0);`,
};
/** What was summed before, and the sum of such pieces. */
const TOTAL: Program = {
  functions: [LINE_SUM],
  parameters: [
    ['pieces', 'array'],
    ['count', 'integer'],
    ['before', 'array'],
  ],
  body: 'return read(before, 0) + lineSum(pieces, 0, count, 1);',
};
const ROOT: Program = {
  parameters: [['total', 'array']],
  body: 'return squareRoot(read(total, 0));',
};

export function globalNorm(machine: Machine): Kernel {
  const { engine, memory } = machine;
  return {
    plan(inputs) {
      const views = (inputs as readonly View[]).filter((v) => sizeOf(v.shape) > 0);
      if (views.some((v) => v.dtype !== 'float32')) return null;
      const arrays = place(machine, views);
      if (arrays === null) return null;
      return ([out]) => {
        let total = engine.upload(new Float32Array(1));
        views.forEach((v, k) => {
          const count = sizeOf(v.shape);
          const length = Math.ceil(Math.sqrt(count));
          const many = Math.ceil(count / length);
          const pieces = engine.run(PIECES, [arrays[k], v.offset, count, length], many);
          const next = engine.run(TOTAL, [pieces, many, total], 1);
          pieces.free();
          total.free();
          total = next;
        });
        memory.adopt(out, engine.run(ROOT, [total], 1));
        total.free();
      };
    },
  };
}

const GRADIENT: readonly (readonly [string, ParameterType])[] = [
  ['g', 'array'],
  ['first', 'integer'],
  ['norm', 'array'],
  ['maxNorm', 'number'],
  ['scale', 'number'],
  ['skips', 'number'],
];
/** The gradient, clipped; and whether the step counts, which it does not where the norm is not finite. */
const START = `
  const total = read(norm, 0) / scale;
  const clip = choose(maxNorm, smaller(1, maxNorm / (total + 0.000001)), 1) / scale;
  const gradient = read(g, first + this.thread.x) * clip;
  const counts = larger(1 - skips, isLess(Math.abs(total), infinite()));`;

const MOMENT: readonly (readonly [string, ParameterType])[] = [
  ['old', 'array'],
  ['beta', 'number'],
  ['rest', 'number'],
];
const FIRST: Program = {
  parameters: [...GRADIENT, ...MOMENT],
  body: `${START} const was = read(old, this.thread.x);
    return choose(counts, beta * was + rest * gradient, was);`,
};
const SECOND: Program = {
  parameters: [...GRADIENT, ...MOMENT],
  body: `${START} const was = read(old, this.thread.x);
    return choose(counts, beta * was + rest * gradient * gradient, was);`,
};
const PARAMETER: Program = {
  parameters: [
    ...GRADIENT,
    ['old', 'array'],
    ['m', 'array'],
    ['v', 'array'],
    ['decay', 'number'],
    ['rate', 'number'],
    ['correction', 'number'],
    ['eps', 'number'],
  ],
  body: `${START} const was = read(old, this.thread.x);
    const change = rate * read(m, this.thread.x) / (squareRoot(read(v, this.thread.x)) / correction + eps);
    return choose(counts, was * decay - change, was);`,
};

/** Whether a view is a whole block, which a program can replace. */
const isWhole = (v: View) => v.offset === 0 && sizeOf(v.shape) * bytesOf(v.dtype) === v.block.bytes;

export function adamwStep(machine: Machine): Kernel {
  const { engine, memory } = machine;
  return {
    plan(inputs, attrs) {
      const { count, lr, weightDecay, beta1, beta2, eps, step, maxNorm, scale = 1, ...more } = attrs as AdamWStepAttrs;
      if (more.copies) return null;
      const norm = inputs[4 * count];
      const views = inputs.slice(0, 4 * count) as View[];
      const written = views.filter((_, i) => i < count || i >= 2 * count);
      if (views.some((v) => v.dtype !== 'float32') || !written.every(isWhole)) return null;
      if (norm && (norm.dtype !== 'float32' || norm.offset !== 0)) return null;
      if (views.some((v) => sizeOf(v.shape) > engine.mostElements)) return null;
      return () => {
        const correction1 = 1 - beta1 ** step;
        const correction2 = Math.sqrt(1 - beta2 ** step);
        const none = norm ? null : engine.upload(new Float32Array(1));
        const total = none ?? (memory.device(norm as View) as DeviceArray);
        for (let i = 0; i < count; i++) {
          const [p, g, m, v] = [0, 1, 2, 3].map((k) => views[i + k * count]);
          const size = sizeOf(p.shape);
          if (size === 0) continue;
          const [pArray, gArray, mArray, vArray] = place(machine, [p, g, m, v]) as DeviceArray[];
          const gradient = [gArray, g.offset, total, norm ? maxNorm : 0, scale, more.skipNonFinite ? 1 : 0];
          const newM = engine.run(FIRST, [...gradient, mArray, beta1, 1 - beta1], size);
          const newV = engine.run(SECOND, [...gradient, vArray, beta2, 1 - beta2], size);
          const decay = 1 - lr[i] * weightDecay[i];
          const rate = lr[i] / correction1;
          const newP = engine.run(PARAMETER, [...gradient, pArray, newM, newV, decay, rate, correction2, eps], size);
          memory.adopt(m, newM);
          memory.adopt(v, newV);
          memory.adopt(p, newP);
        }
        none?.free();
      };
    },
  };
}
