/** What happens to sums before they are stored: bias, activation and its slope, residual, rounding. */
import type { View } from '../../../core/backend.js';
import { type Binding, input, output } from '../program.js';
import type { Product } from './product.js';

type Float = 'f32' | 'f16';

/** The part of a product that decides on the code of `finish`. */
export interface Finish {
  readonly y: Float;
  readonly bias: Float | null;
  readonly residual: Float | null;
  readonly gelu: boolean;
  readonly slope: boolean;
  readonly split: 'rows' | 'depth' | null;
  readonly sums: boolean;
  /** Whether four columns are stored at once. */
  readonly wide: boolean;
}

export const floatOf = (view: View): Float => (view.dtype === 'float16' ? 'f16' : 'f32');

export function finishOf(product: Product): Finish {
  const { y, bias, biasSecond, residual, gelu = false, slope, split, sums } = product;
  const aligned = [bias, biasSecond, residual].every((v) => !v || v.offset % 4 === 0);
  return {
    y: floatOf(y),
    bias: bias ? floatOf(bias) : null,
    residual: residual ? floatOf(residual) : null,
    gelu,
    slope: slope !== undefined,
    split: split?.along ?? null,
    sums: sums !== undefined,
    wide: aligned && product.columns % 4 === 0,
  };
}

export const finishKey = (f: Finish): string =>
  `${f.y},${f.bias},${f.residual},${f.gelu ? 'g' : ''}${f.slope ? 's' : ''}${f.sums ? 'd' : ''}${f.wide ? 'w' : ''},${f.split}`;

export function finishBuffers(f: Finish): Record<string, Binding> {
  const typed = (type: Float) => (f.wide ? `vec4<${type}>` : type);
  const second = f.split === 'rows';
  return {
    y: output(typed(f.y)),
    ...(f.split === 'depth' && { ySecond: output(typed(f.y)) }),
    ...(f.bias && { bias: input(typed(f.bias)) }),
    ...(f.bias && second && { biasSecond: input(typed(f.bias)) }),
    ...(f.slope && { slope: output(typed(f.y)) }),
    ...(f.residual && { residual: input(typed(f.residual)) }),
    ...(f.sums && { sums: output(f.y) }),
    ...(f.sums && f.split === 'depth' && { sumsSecond: output(f.y) }),
  };
}

export function finishViews(f: Finish, product: Product): Record<string, View> {
  const { y, ySecond, bias, biasSecond, slope, residual, sums, sumsSecond } = product;
  const all: Record<string, View | null | undefined> = {
    y,
    ySecond,
    bias,
    biasSecond,
    slope,
    residual,
    sums,
    sumsSecond,
  };
  return Object.fromEntries(Object.keys(finishBuffers(f)).map((name) => [name, all[name] as View]));
}

export const SPLIT_SCALARS = { before: 'u32', all: 'u32' } as const;

/**
 * WGSL of `finish(way, layer, row, column, value)`: stores one element, or four columns, of a result of `p.rows` x
 * `p.columns`, and `finishSum(way, row, value)`. Rows of a split are counted within their part.
 */
export function finishCode(f: Finish): string {
  const shift = f.wide ? ' >> 2u' : '';
  const type = f.wide ? 'vec4f' : 'f32';
  const stored = (value: string) => (f.y === 'f32' ? value : f.wide ? `vec4<f16>(${value})` : `f16(${value})`);
  const read = (name: string, at: string) => `${type}(${name}[(${at})${shift}])`;
  const lines: string[] = [];
  if (f.split === 'rows') lines.push('let at = placed(way, row) * p.columns + column;');
  else if (f.split === 'depth') lines.push('let at = row * p.columns + column;');
  else lines.push('let at = (layer * p.rows + row) * p.columns + column;');
  lines.push('var v = value;');
  if (f.bias) {
    const first = `v += ${read('bias', 'p.biasAt + column')};`;
    const second = `v += ${read('biasSecond', 'p.biasSecondAt + column')};`;
    lines.push(f.split === 'rows' ? `if (way == 0u) { ${first} } else { ${second} }` : first);
  }
  if (f.gelu && f.slope) {
    if (f.wide) {
      const pairs = [0, 1, 2, 3].map((i) => `let g${i} = geluAndSlope_(v[${i}]);`);
      lines.push(...pairs, 'v = vec4f(g0.x, g1.x, g2.x, g3.x);');
      lines.push(`slope[at >> 2u] = ${stored('vec4f(g0.y, g1.y, g2.y, g3.y)')};`);
    } else lines.push('let g = geluAndSlope_(v);', 'v = g.x;', `slope[at] = ${stored('g.y')};`);
  } else if (f.gelu) {
    lines.push(f.wide ? 'v = vec4f(gelu_(v.x), gelu_(v.y), gelu_(v.z), gelu_(v.w));' : 'v = gelu_(v);');
  }
  if (f.residual) lines.push(`v += ${read('residual', 'p.residualAt + at')};`);
  const store = (name: string) => `${name}[at${shift}] = ${stored('v')};`;
  lines.push(f.split === 'depth' ? `if (way == 0u) { ${store('y')} } else { ${store('ySecond')} }` : store('y'));
  const sum = (name: string) => `${name}[row] = ${f.y}(value);`;
  const sums = f.split === 'depth' ? `if (way == 0u) { ${sum('sums')} } else { ${sum('sumsSecond')} }` : sum('sums');
  return `fn finish(way: u32, layer: u32, row: u32, column: u32, value: ${type}) {
  ${lines.join('\n  ')}
}${f.sums ? `\nfn finishSum(way: u32, row: u32, value: f32) { ${sums} }` : ''}`;
}

/** WGSL of `placed(way, i)`: which row of [B, all] row i of a part of a split is. */
export const PLACED = `fn placed(way: u32, i: u32) -> u32 {
  let size = select(p.before, p.all - p.before, way == 1u);
  return (i / size) * p.all + i % size + select(0u, p.before, way == 1u);
}`;
