/** The largest element along an axis, and where it is. */
import type { Kernel, View } from '../../../core/backend.js';
import { copy } from '../copy.js';
import { usesHalf } from '../elementwise.js';
import { input, output } from '../program.js';
import { type Fold, geometryOf, inPasses, pass } from '../reduce.js';
import type { Runtime } from '../runtime.js';
import { withScratch } from '../scratch.js';
import { arrayType, isInteger, loader, perWord } from '../wgsl/access.js';

interface Attrs {
  readonly axis: number;
}

/** `fn order(v) -> i32`: greater for greater numbers, the same for both zeros, greatest for NaN. */
export const orderCode = (whole: boolean): string =>
  whole
    ? 'fn order(v: i32) -> i32 { return v; }'
    : `fn order(v: f32) -> i32 {
  let bits = bitcast<i32>(v);
  let size = bits & 0x7fffffff;
  if (size > 0x7f800000) { return 0x7fffffff; }
  return select(-size, size, bits >= 0);
}`;

/** The first of the largest; index 0xffffffff stands for nothing yet. */
const LARGEST = `struct State { key: i32, index: u32 }
fn start() -> State { return State(-2147483647 - 1, 0xffffffffu); }
fn join(a: State, b: State) -> State {
  if (b.key > a.key || (b.key == a.key && b.index < a.index)) { return b; }
  return a;
}`;

/** Finds the first maxima of `x` along `axis`; `values` has an element for each word, or is left out. */
function findMaxima(rt: Runtime, x: View, axis: number, values: View | null, indices: View): void {
  const geometry = geometryOf(x, [axis]);
  if (geometry.results === 0) return;
  const { half } = rt.facts;
  const domain = isInteger(x.dtype) ? 'i32' : 'f32';
  const type = values && arrayType(values.dtype, half);
  const base = `max:${x.dtype}:${values?.dtype ?? ''}`;
  const load = loader('x', x.dtype, half, domain);
  const item = `${load}
${orderCode(domain === 'i32')}
fn item(at: u32, j: u32) -> State { return State(order(load_x(p.xAt + at)), j); }`;
  const source = { x: input(arrayType(x.dtype, half)) };
  // Steps to what was found: those of the partial results, which a second pass reads, are others.
  const walks = [
    { ...geometry.kept, name: 'line' },
    { ...geometry.reduced, name: 'element' },
  ];
  const result: Pick<Fold, 'outputs' | 'store' | 'enable' | 'walks'> = type
    ? {
        outputs: { values: output(type), indices: output('i32') },
        store: `indices[o] = i32(s.index); values[o] = ${type}(load_x(p.xAt + line(o) + element(s.index)));`,
        enable: usesHalf([x, values], half),
        walks,
      }
    : { outputs: { indices: output('i32') }, store: 'indices[o] = i32(s.index);', enable: usesHalf([x], half) };
  const results = { ...(values ? { values } : {}), indices };
  inPasses(
    geometry,
    (tile) => {
      const fold = { key: `${base}:once`, code: `${LARGEST}\n${item}`, inputs: source, ...result };
      pass(rt, fold, geometry, tile, 1, { x, ...results });
    },
    (tile, ranges, joined, joinedTile) => {
      const words = { dtype: 'int32' as const, shape: [ranges, geometry.results] };
      withScratch(rt, [words, words], (keys, places) => {
        const part: Fold = {
          key: `${base}:part`,
          code: `${LARGEST}\n${item}`,
          inputs: source,
          outputs: { keys: output('i32'), places: output('u32') },
          store: 'keys[o] = s.key; places[o] = s.index;',
          enable: usesHalf([x], half),
        };
        pass(rt, part, geometry, tile, ranges, { x, keys, places });
        const join: Fold = {
          key: `${base}:join`,
          code: `${LARGEST}
${values ? load : ''}
fn item(at: u32, j: u32) -> State { return State(keys[at], places[at]); }`,
          inputs: { ...(values ? source : {}), keys: input('i32'), places: input('u32') },
          ...result,
        };
        pass(rt, join, joined, joinedTile, 1, { ...(values ? { x } : {}), keys, places, ...results });
      });
    },
  );
}

export const max = (rt: Runtime): Kernel => ({
  strided: true,
  plan(inputs, attrs) {
    const [x] = inputs as [View];
    const { axis } = attrs as Attrs;
    return ([values, indices]) => {
      if (perWord(values.dtype, rt.facts.half) === 1) findMaxima(rt, x, axis, values, indices);
      else {
        withScratch(rt, [{ dtype: 'int32', shape: values.shape }], (wide) => {
          findMaxima(rt, x, axis, wide, indices);
          copy(rt, wide, values);
        });
      }
    };
  },
});

export const argmax = (rt: Runtime): Kernel => ({
  strided: true,
  plan(inputs, attrs) {
    const [x] = inputs as [View];
    return ([indices]) => findMaxima(rt, x, (attrs as Attrs).axis, null, indices);
  },
});
