/** Every kernel of products compiles, those for half floats and matrix units too, which no software GPU runs: Dawn's null backend checks the WGSL. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { type AdapterFacts, knowsMatrices } from '../../backends/webgpu/device.js';
import { runnableMatrix } from '../../backends/webgpu/gemm/choose.js';
import { CONFIGS, MATRIX_TILES } from '../../backends/webgpu/gemm/config.js';
import type { Finish } from '../../backends/webgpu/gemm/finish.js';
import { type Side, type Sides, stageSize } from '../../backends/webgpu/gemm/load.js';
import { matrixDefinition, matrixMemory } from '../../backends/webgpu/gemm/matrix.js';
import { reduceDefinition } from '../../backends/webgpu/gemm/reduce.js';
import { thinDefinition } from '../../backends/webgpu/gemm/thin.js';
import { tileDefinition } from '../../backends/webgpu/gemm/tile.js';
import { type Definition, makeProgram, textOf } from '../../backends/webgpu/program.js';
import type { Runtime } from '../../backends/webgpu/runtime.js';
import { messageOf } from '../../core/errors.js';

const FEATURES = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'] as GPUFeatureName[];

/** Dawn crashes when its entry is collected while a device of it lives. */
let entry: GPU | null = null;

async function nullDevice(): Promise<GPUDevice | string> {
  try {
    const { create, globals } = await import('webgpu');
    Object.assign(globalThis, globals);
    entry = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
    const adapter = await entry.requestAdapter();
    return (await adapter?.requestDevice({ requiredFeatures: FEATURES })) ?? 'Dawn has no null adapter';
  } catch (error) {
    return `no Dawn here: ${messageOf(error)}`;
  }
}

const found = await nullDevice();
const skip = typeof found === 'string' ? found : false;
const device = found as GPUDevice;

/** Why a kernel does not compile, or null; a pipeline is made only where its memory fits this device. */
async function failure(definition: Definition, fits = true): Promise<string | null> {
  const program = makeProgram('test', definition, { immediates: true } as AdapterFacts);
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code: textOf(program, 0) });
  if (fits) {
    const entries = program.written.map((written, binding) => ({
      binding,
      visibility: 4,
      buffer: { type: written ? 'storage' : 'read-only-storage' } as GPUBufferBindingLayout,
    }));
    const uniform = program.immediate ? [] : [{ binding: entries.length, visibility: 4, buffer: {} }];
    const layout = device.createPipelineLayout({
      bindGroupLayouts: [device.createBindGroupLayout({ entries: [...entries, ...uniform] })],
      ...(program.immediate && { immediateSize: 4 * program.fields.length }),
    });
    device.createComputePipeline({ layout, compute: { module, entryPoint: 'main' } });
  }
  return (await device.popErrorScope())?.message ?? null;
}

const side = (type: 'f32' | 'f16', inner: Side['inner'], wide: boolean): Side => ({ type, inner, wide });
const plain: Finish = {
  ...{ y: 'f32', bias: null, residual: null, gelu: false, slope: false, split: null, sums: false, wide: true },
};
const rich: Finish = { ...plain, y: 'f16', bias: 'f16', residual: 'f32', gelu: true, slope: true };

/** Kernels by what sets them apart: layouts, dtypes, what happens to the sums. */
function* variants(types: readonly ('f32' | 'f16')[], inners: readonly Side['inner'][], wides: readonly boolean[]) {
  let count = 0;
  for (const type of types)
    for (const a of inners)
      for (const b of inners)
        for (const wide of wides) {
          for (const split of [null, 'rows', 'depth'] as const) {
            const partial = count++ % 3 === 0;
            const sums = split === 'depth';
            // Eight buffers at most: slopes and residuals of a split product are computed by others.
            const finish: Finish = split === 'depth' ? { ...plain, split, sums, wide } : { ...rich, split, wide };
            const bindable = split === 'rows' ? { ...finish, slope: false } : finish;
            const real = (inner: Side['inner']) => wide && inner !== 'none';
            const sides: Sides = {
              ...{ a: side(type, a, real(a)), b: side(type, b, real(b)), split },
              rank: split === null ? count % 3 : 0,
            };
            yield { sides, finish: bindable, partial, whole: !partial && split !== 'depth' };
          }
        }
}

describe('kernels of products', { skip }, () => {
  it('compile for every tile size, layout and dtype', async () => {
    let i = 0;
    for (const variant of variants(['f32', 'f16'], ['depth', 'outer', 'none'], [true, false])) {
      const config = CONFIGS[i++ % CONFIGS.length];
      const fits = 16 * config.stages * stageSize(config) <= device.limits.maxComputeWorkgroupStorageSize;
      const error = await failure(tileDefinition({ ...variant, config }), fits);
      assert.equal(error, null, JSON.stringify({ config, ...variant }));
    }
    assert.ok(i >= 3 * CONFIGS.length);
  });

  it('compile for matrix units of every size', async () => {
    const units = [
      [16, 16, 16],
      [16, 8, 16],
      [16, 8, 8],
      [8, 8, 8],
    ].map(([M, N, K]) => ({ M, N, K, componentType: 'f16', resultComponentType: 'f32' }));
    assert.equal(await knowsMatrices(device), true);
    let i = 0;
    for (const config of MATRIX_TILES) {
      for (const variant of variants(['f16'], ['depth', 'outer'], [true])) {
        const unit = units[i++ % units.length];
        const fits = matrixMemory(config, unit) <= device.limits.maxComputeWorkgroupStorageSize;
        const error = await failure(matrixDefinition({ ...variant, config, unit, lanes: 32 }), fits);
        assert.equal(error, null, JSON.stringify({ config, unit, ...variant }));
      }
    }
    const limits = { maxComputeWorkgroupStorageSize: 48 * 1024, maxComputeInvocationsPerWorkgroup: 1024 };
    const rt = { device: { limits }, facts: { subgroupMinSize: 32 } } as Runtime;
    assert.deepEqual(runnableMatrix(rt, units[0]), MATRIX_TILES);
  });

  it('compile for few rows, and for the sums of slices', async () => {
    for (const rows of [1, 2, 4, 8, 16]) {
      for (const type of ['f32', 'f16'] as const) {
        const sides: Sides = {
          a: side(type, 'depth', true),
          b: side(type, 'depth', true),
          rank: rows % 3,
          split: null,
        };
        assert.equal(
          await failure(
            thinDefinition({ rows, columns: Math.min(4, 16 / rows), sides, finish: { ...rich, wide: false } }),
          ),
          null,
          `${rows}`,
        );
      }
    }
    for (const split of [null, 'rows', 'depth'] as const) {
      for (const wide of [true, false]) {
        const finish =
          split === 'depth' ? { ...plain, split, sums: true, wide } : { ...rich, slope: !split, split, wide };
        assert.equal(await failure(reduceDefinition(finish)), null, `${split}`);
      }
    }
  });

  it('are refused where they are wrong', async () => {
    assert.notEqual(
      await failure({ buffers: {}, code: '@compute @workgroup_size(1) fn main() { let x: u32 = 1.5f; }' }),
      null,
    );
  });
});
