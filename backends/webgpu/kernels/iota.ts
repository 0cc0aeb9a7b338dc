/** Tensors that are made of the places of their elements: even steps, and random bits. */
import type { Kernel } from '../../../core/backend.js';
import { sizeOf } from '../../../core/layout.js';
import { usesHalf } from '../elementwise.js';
import { output } from '../program.js';
import type { Runtime } from '../runtime.js';
import { arrayType, type Domain, encoded, groupsFor, isInteger, MAIN, storeElements, THREADS } from '../wgsl/access.js';
import { withMath } from '../wgsl/math.js';
import { PHILOX } from '../wgsl/philox.js';

interface IotaAttrs {
  readonly start: number;
  readonly step: number;
}

export const iota = (rt: Runtime): Kernel => ({
  plan(_, attrs, [{ dtype, shape }]) {
    const { start, step } = attrs as IotaAttrs;
    const { half } = rt.facts;
    const n = sizeOf(shape);
    const whole = isInteger(dtype) && Number.isInteger(start) && Number.isInteger(step);
    const domain: Domain = whole ? 'i32' : 'f32';
    return ([y]) => {
      if (n === 0) return;
      const launch = rt.kernel(`iota:${dtype}:${domain}`, () => ({
        buffers: { y: output(arrayType(dtype, half)) },
        scalars: { n: 'u32', start: domain, step: domain, ...(whole ? {} : { rest: domain }) },
        enable: usesHalf([{ dtype }], half),
        code: withMath(`fn element(i: u32) -> ${arrayType(dtype, half)} {
  ${
    whole
      ? 'let v = p.start + i32(i) * p.step;'
      : // The step in two parts: its rounding error would grow with the place.
        'let v = fma(f32(i), p.rest, fma(f32(i), p.step, p.start));'
  }
  return ${encoded('v', dtype, half, domain)};
}
${MAIN}
  ${storeElements(dtype, half)}
}`),
      }));
      launch({ y }, { n, start, step, rest: step - Math.fround(step) }, groupsFor(n, dtype, half));
    };
  },
});

interface BitsAttrs {
  readonly key: readonly [number, number];
  readonly counter: readonly [number, number];
}

export const randomBits = (rt: Runtime): Kernel => ({
  plan(_, attrs, [{ shape }]) {
    const { key, counter } = attrs as BitsAttrs;
    const n = sizeOf(shape);
    return ([y]) => {
      const launch = rt.kernel('randomBits', () => ({
        buffers: { y: output('vec4u') },
        scalars: { blocks: 'u32', k0: 'u32', k1: 'u32', c0: 'u32', c1: 'u32' },
        code: `${PHILOX}
${MAIN}
  if (t < p.blocks) { y[t] = philox(vec2u(p.k0, p.k1), after(vec2u(p.c0, p.c1), t)); }
}`,
      }));
      const blocks = Math.ceil(n / 4);
      const scalars = { blocks, k0: key[0], k1: key[1], c0: counter[0], c1: counter[1] };
      launch({ y }, scalars, Math.ceil(blocks / THREADS));
    };
  },
});
