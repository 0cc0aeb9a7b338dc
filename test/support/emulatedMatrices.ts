/**
 * Matrix units in plain WGSL, for GPUs that have none: matrices lie in a buffer `memory`, and the lanes of a subgroup share
 * their elements. Half floats become float32. It proves the indices of a kernel, not its rounding.
 */
import { type Definition, output } from '../../backends/webgpu/program.js';

/** Elements of a matrix and matrices of a subgroup, at most. */
const ELEMENTS = 256;
const MATRICES = 64;

/** Bytes of the buffer `memory` for so many workgroups of four subgroups. */
export const emulatedBytes = (groups: number): number => 4 * groups * 4 * MATRICES * ELEMENTS;

/** The kernel without matrix units, half floats and subgroups, for subgroups of `lanes` invocations. */
export function emulated(definition: Definition, lanes: number): Definition {
  const buffers = Object.fromEntries(
    Object.entries(definition.buffers).map(([name, b]) => [name, { ...b, type: b.type.replace('f16', 'f32') }]),
  );
  /** Columns, rows and place of each matrix. */
  const known = new Map<string, { readonly columns: number; readonly rows: number; readonly at: string }>();
  const matrixOf = (name: string) => {
    const found = known.get(name);
    if (!found) throw new Error(`the matrix ${name} was not declared`);
    return found;
  };
  const declare = (name: string, columns: string, rows: string) => {
    const at = known.get(name)?.at ?? `emulation + ${ELEMENTS * known.size}u`;
    const made = { columns: Number(columns), rows: Number(rows), at };
    known.set(name, made);
    if (known.size > MATRICES) throw new Error('too many matrices');
    return made;
  };
  const each = (size: number, body: string) => `for (var e = lane; e < ${size}u; e += ${lanes}u) { ${body} }`;
  const matrix = String.raw`subgroup_matrix_\w+<f32, (\d+), (\d+)>`;
  const tokens = new RegExp(
    [
      String.raw`let (\w+) = subgroupMatrixLoad<${matrix}, (\w+)>\(&(\w+), ([^;]*), (\d+)u\);`,
      String.raw`var (\w+) = ${matrix}\(\);`,
      String.raw`(\w+) = subgroupMatrixMultiplyAccumulate\((\w+), (\w+), \w+\);`,
      String.raw`subgroupMatrixStore<row_major>\(&(\w+), ([^;]*), (\w+), (\d+)u\);`,
    ].join('|'),
    'g',
  );
  const code = definition.code
    .replaceAll('f16', 'f32')
    .replace(/, @builtin\(subgroup_id\) warp: u32, @builtin\(subgroup_invocation_id\) lane: u32\) \{/, () => {
      return `) {
  let warp = t / ${lanes}u;
  let lane = t % ${lanes}u;
  let emulation = (4u * (group.x + groups.x * (group.y + groups.y * group.z)) + warp) * ${MATRICES * ELEMENTS}u;`;
    })
    .replace(tokens, (...groups: (string | undefined)[]) => {
      const [, loaded, lc, lr, order, source, from, step, made, mc, mr, sum, a, b, target, to, stored, stride] =
        groups as string[];
      if (loaded) {
        const { columns, rows, at } = declare(loaded, lc, lr);
        const [i, j] = [`e / ${columns}u`, `e % ${columns}u`];
        const place = order === 'row_major' ? `${i} * ${step}u + ${j}` : `${j} * ${step}u + ${i}`;
        // Others may still read the matrix before.
        return `storageBarrier(); ${each(rows * columns, `memory[${at} + e] = ${source}[${from} + ${place}];`)} storageBarrier();`;
      }
      if (made) {
        const { columns, rows, at } = declare(made, mc, mr);
        return each(rows * columns, `memory[${at} + e] = 0.0f;`);
      }
      if (sum) {
        const { columns, rows, at } = matrixOf(sum);
        const [left, right] = [matrixOf(a), matrixOf(b)];
        const term = `memory[${left.at} + e / ${columns}u * ${left.columns}u + d] * memory[${right.at} + d * ${columns}u + e % ${columns}u]`;
        return each(rows * columns, `for (var d = 0u; d < ${left.columns}u; d++) { memory[${at} + e] += ${term}; }`);
      }
      const { columns, rows, at } = matrixOf(stored);
      return each(
        rows * columns,
        `${target}[${to} + e / ${columns}u * ${stride}u + e % ${columns}u] = memory[${at} + e];`,
      );
    });
  if (code.includes('subgroup')) throw new Error(`not emulated: ${/.*subgroup.*/.exec(code)?.[0]}`);
  return { ...definition, buffers: { ...buffers, memory: output('f32') }, enable: [], code };
}
