/** The second kernel of a product whose depth was cut into slices: adds their sums in order, and finishes them. */
import type { View } from '../../../core/backend.js';
import type { Definition } from '../program.js';
import { input } from '../program.js';
import type { Runtime } from '../runtime.js';
import { MAIN, THREADS } from '../wgsl/access.js';
import { withMath } from '../wgsl/math.js';
import {
  type Finish,
  finishBuffers,
  finishCode,
  finishKey,
  finishOf,
  finishViews,
  PLACED,
  SPLIT_SCALARS,
} from './finish.js';
import { layers, type Product } from './product.js';

export function reduceDefinition(finish: Finish): Definition {
  const { wide, sums, split } = finish;
  const part = 'let part = p.rows / p.all * p.before;';
  const way =
    split === 'rows'
      ? `${part}
    let way = select(0u, 1u, stacked >= part);
    let row = stacked - way * part;`
      : `let way = ${split === 'depth' ? 'layer' : '0u'};
    let row = stacked;`;
  const addSums = `let u = t - p.n;
  if (t >= p.n && u < p.sumCount) {
    var sum = 0.0f;
    for (var slice = 0u; slice < p.slices; slice++) { sum += scratchSums[slice * p.sumCount + u]; }
    finishSum(u / p.rows, u % p.rows, sum);
  }`;
  return {
    buffers: {
      scratch: input(wide ? 'vec4f' : 'f32'),
      ...(sums && { scratchSums: input('f32') }),
      ...finishBuffers(finish),
    },
    scalars: {
      n: 'u32',
      slices: 'u32',
      rows: 'u32',
      columns: 'u32',
      ...(sums && { sumCount: 'u32' }),
      ...(split && SPLIT_SCALARS),
    },
    enable: [finish.y, finish.bias, finish.residual].includes('f16') ? ['f16'] : [],
    code: withMath(`${split ? PLACED : ''}
${finishCode(finish)}
${MAIN}
  if (t < p.n) {
    var sum = scratch[t];
    for (var slice = 1u; slice < p.slices; slice++) { sum += scratch[slice * p.n + t]; }
    let at = t${wide ? ' * 4u' : ''};
    let column = at % p.columns;
    let stacked = (at / p.columns) % p.rows;
    let layer = at / p.columns / p.rows;
    ${way}
    finish(way, layer, row, column, sum);
  }
  ${sums ? addSums : ''}
}`),
  };
}

/** Adds the sums of slices: `scratch` [slices, layers, rows, columns] and `scratchSums` [slices, layers, rows]. */
export function reduce(rt: Runtime, product: Product, slices: number, scratch: View, scratchSums: View | null): void {
  const finish = finishOf(product);
  const { rows, columns, split } = product;
  const launch = rt.kernel(`gemmReduce:${finishKey(finish)}`, () => reduceDefinition(finish));
  const z = layers(product);
  const n = (z * rows * columns) / (finish.wide ? 4 : 1);
  const sumCount = finish.sums ? z * rows : 0;
  launch(
    { scratch, ...(scratchSums && { scratchSums }), ...finishViews(finish, product) },
    { n, slices, rows, columns, sumCount, before: split?.before ?? 0, all: split?.all ?? 0 },
    Math.ceil((n + sumCount) / THREADS),
  );
}
