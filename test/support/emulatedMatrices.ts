/**
 * Matrix units in plain WGSL, for GPUs that have none: every invocation holds whole matrices. Half floats become float32.
 * It proves the indices of a kernel, not its rounding.
 */
import type { Definition } from '../../backends/webgpu/program.js';

/** The kernel without matrix units, half floats and subgroups, for subgroups of `lanes` invocations. */
export function emulated(definition: Definition, lanes: number): Definition {
  const buffers = Object.fromEntries(
    Object.entries(definition.buffers).map(([name, b]) => [name, { ...b, type: b.type.replace('f16', 'f32') }]),
  );
  /** Columns and rows of each matrix. */
  const sizes = new Map<string, readonly [number, number]>();
  const known = (name: string): readonly [number, number] => {
    const size = sizes.get(name);
    if (!size) throw new Error(`the matrix ${name} was not declared`);
    return size;
  };
  const declare = (name: string, columns: string, rows: string): void => {
    sizes.set(name, [Number(columns), Number(rows)]);
  };
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
      return `) {\n  let warp = t / ${lanes}u;\n  let lane = t % ${lanes}u;`;
    })
    .replace(tokens, (...groups: (string | undefined)[]) => {
      const [, loaded, lc, lr, order, source, from, step, made, mc, mr, sum, a, b, target, to, stored, stride] =
        groups as string[];
      if (loaded) {
        declare(loaded, lc, lr);
        const place =
          order === 'row_major' ? `e / ${lc}u * ${step}u + e % ${lc}u` : `e % ${lc}u * ${step}u + e / ${lc}u`;
        return `var ${loaded}: array<f32, ${Number(lc) * Number(lr)}>; for (var e = 0u; e < ${Number(lc) * Number(lr)}u; e++) { ${loaded}[e] = ${source}[${from} + ${place}]; }`;
      }
      if (made) {
        declare(made, mc, mr);
        // With a value: a variable without one is not zeroed at each turn of a loop.
        return `var ${made} = array<f32, ${Number(mc) * Number(mr)}>();`;
      }
      if (sum) {
        const [columns, rows] = known(sum);
        const [depth] = known(a);
        return `for (var e = 0u; e < ${rows * columns}u; e++) { for (var d = 0u; d < ${depth}u; d++) { ${sum}[e] += ${a}[e / ${columns}u * ${depth}u + d] * ${b}[d * ${columns}u + e % ${columns}u]; } }`;
      }
      const [columns, rows] = known(stored);
      return `for (var e = lane; e < ${rows * columns}u; e += ${lanes}u) { ${target}[${to} + e / ${columns}u * ${stride}u + e % ${columns}u] = ${stored}[e]; }`;
    });
  if (code.includes('subgroup')) throw new Error(`not emulated: ${/.*subgroup.*/.exec(code)?.[0]}`);
  return { ...definition, buffers, enable: [], code };
}
