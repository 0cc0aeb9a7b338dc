/// <reference types="@webgpu/types" />
/** What an adapter can do at best: multiply-adds in a loop, a copy, and its matrix units; measured, for per cents of it. */
import type { Ceilings } from '../../core/backend.js';
import type { AdapterFacts, MatrixConfig } from './device.js';

/** Milliseconds that one measured dispatch should take: long against the way to the GPU and back. */
const LONG = 20;
const REPEATS = 5;
const GROUP = 256;

/** Measures a device; takes about a second. */
export async function measureCeilings(device: GPUDevice, facts: AdapterFacts): Promise<Ceilings> {
  const float32 = await multiplyAdds(device, 'f32');
  const float16 = facts.half ? await multiplyAdds(device, 'f16') : null;
  let matrix: number | null = null;
  for (const config of chosen(facts.matrices)) {
    const rate = await matrixUnits(device, config, facts.subgroupMaxSize);
    matrix = Math.max(matrix ?? 0, rate);
  }
  return { float32, float16, matrix, bandwidth: await copies(device) };
}

/** The configurations that training uses, or those that stay in float16. */
function chosen(matrices: readonly MatrixConfig[]): readonly MatrixConfig[] {
  const half = matrices.filter((m) => m.componentType === 'f16');
  const wide = half.filter((m) => m.resultComponentType === 'f32');
  return wide.length > 0 ? wide : half;
}

/** Operations a second of `code`, which repeats its work `iterations` times and does `operations` in each per group. */
async function rate(device: GPUDevice, code: string, operations: number): Promise<number> {
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
  const data = device.createBuffer({ size: 1 << 20, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST });
  // Zeros cost less power, and the clock would be higher than with numbers. Each half is a small float16 by itself.
  device.queue.writeBuffer(
    data,
    0,
    Uint16Array.from({ length: 1 << 19 }, (_, i) => 0x2a00 + ((i * 7919) & 0x3ff)),
  );
  const iterations = device.createBuffer({ size: 16, usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST });
  const bindGroup = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [
      { binding: 0, resource: { buffer: data } },
      { binding: 1, resource: { buffer: iterations } },
    ],
  });
  let count = 16;
  let groups = 16;
  const once = async (): Promise<number> => {
    device.queue.writeBuffer(iterations, 0, Uint32Array.of(count, 0, 0, 0));
    return timed(device, (encoder) => {
      const pass = encoder.beginComputePass();
      pass.setPipeline(pipeline);
      pass.setBindGroup(0, bindGroup);
      pass.dispatchWorkgroups(groups);
      pass.end();
    });
  };
  try {
    await once();
    // First enough groups for every processor, then longer loops.
    let took = await once();
    while (took < LONG && (groups < 8192 || count < 1 << 20)) {
      const factor = Math.min(16, Math.max(2, Math.ceil(LONG / Math.max(took, 0.1))));
      if (groups < 8192) groups *= factor;
      else count *= factor;
      groups = Math.min(8192, groups);
      took = await once();
    }
    for (let i = 1; i < REPEATS; i++) took = Math.min(took, await once());
    return (operations * groups * count) / (took / 1000);
  } finally {
    data.destroy();
    iterations.destroy();
  }
}

/** Milliseconds from the submission of what `record` records to its end. */
async function timed(device: GPUDevice, record: (encoder: GPUCommandEncoder) => void): Promise<number> {
  const encoder = device.createCommandEncoder();
  record(encoder);
  const commands = encoder.finish();
  const start = performance.now();
  device.queue.submit([commands]);
  await device.queue.onSubmittedWorkDone();
  return performance.now() - start;
}

/** Eight independent chains of vectors in registers. */
async function multiplyAdds(device: GPUDevice, type: 'f32' | 'f16'): Promise<number> {
  const chains = Array.from({ length: 8 }, (_, i) => `x${i}`);
  const code = `${type === 'f16' ? 'enable f16;' : ''}
@group(0) @binding(0) var<storage, read_write> data: array<vec4<${type}>>;
@group(0) @binding(1) var<uniform> iterations: vec4u;
@compute @workgroup_size(${GROUP})
fn main(@builtin(local_invocation_index) i: u32) {
  let factor = data[i];
  let term = data[i + ${GROUP}u];
  ${chains.map((x, k) => `var ${x} = data[i + ${k}u];`).join('\n  ')}
  for (var n = 0u; n < iterations.x; n++) {
    ${chains.map((x) => `${x} = fma(${x}, factor, term);`).join('\n    ')}
  }
  data[i + ${2 * GROUP}u] = ${chains.join(' + ')};
}`;
  return rate(device, code, 2 * 4 * chains.length * GROUP);
}

/** Four independent products in each subgroup. */
async function matrixUnits(device: GPUDevice, { M, N, K, ...types }: MatrixConfig, subgroup: number): Promise<number> {
  const [from, to] = [types.componentType, types.resultComponentType];
  const result = `subgroup_matrix_result<${to}, ${N}, ${M}>`;
  const sums = ['s0', 's1', 's2', 's3'];
  const width = Math.max(subgroup, 1);
  const group = width * Math.max(1, Math.floor(GROUP / width));
  const code = `enable f16;
enable chromium_experimental_subgroup_matrix;
diagnostic(off, chromium.subgroup_matrix_uniformity);
@group(0) @binding(0) var<storage, read_write> data: array<${from}>;
@group(0) @binding(1) var<uniform> iterations: vec4u;
var<workgroup> results: array<${to}, ${M * N}>;
@compute @workgroup_size(${group})
fn main(@builtin(local_invocation_index) i: u32) {
  let a = subgroupMatrixLoad<subgroup_matrix_left<${from}, ${K}, ${M}>, row_major>(&data, 0u, ${K}u);
  let b = subgroupMatrixLoad<subgroup_matrix_right<${from}, ${N}, ${K}>, row_major>(&data, 4096u, ${N}u);
  ${sums.map((s) => `var ${s}: ${result};`).join('\n  ')}
  for (var n = 0u; n < iterations.x; n++) {
    ${sums.map((s) => `${s} = subgroupMatrixMultiplyAccumulate(a, b, ${s});`).join('\n    ')}
  }
  ${sums.map((s) => `subgroupMatrixStore<row_major>(&results, 0u, ${s}, ${N}u);\n  workgroupBarrier();\n  data[8192u + i] += ${from}(results[i % ${M * N}u]);\n  workgroupBarrier();`).join('\n  ')}
}`;
  return rate(device, code, 2 * M * N * K * sums.length * (group / width));
}

/** The faster of a copying kernel and the queue's own copy. */
async function copies(device: GPUDevice): Promise<number> {
  const { maxStorageBufferBindingSize, maxBufferSize } = device.limits;
  const most = Math.min(256 * 2 ** 20, maxStorageBufferBindingSize, maxBufferSize);
  const code = `
@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> b: array<vec4f>;
@compute @workgroup_size(${GROUP})
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
  let i = id.y * groups.x * ${GROUP}u + id.x;
  b[i] = a[i];
}`;
  const module = device.createShaderModule({ code });
  const pipeline = await device.createComputePipelineAsync({ layout: 'auto', compute: { module } });
  let rate = 0;
  // A slow adapter is measured on less.
  for (let bytes = 2 ** 24; bytes <= most; bytes *= 4) {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST;
    const [from, to] = [0, 1].map(() => device.createBuffer({ size: bytes, usage }));
    const bindGroup = device.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [from, to].map((buffer, binding) => ({ binding, resource: { buffer } })),
    });
    const groups = bytes / 16 / GROUP;
    const rows = Math.ceil(groups / 32768);
    const kinds: ((encoder: GPUCommandEncoder) => void)[] = [
      (encoder) => {
        const pass = encoder.beginComputePass();
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, bindGroup);
        for (let i = 0; i < COPIES; i++) pass.dispatchWorkgroups(groups / rows, rows);
        pass.end();
      },
      (encoder) => {
        for (let i = 0; i < COPIES; i++) encoder.copyBufferToBuffer(from, 0, to, 0, bytes);
      },
    ];
    let slowest = 0;
    // A smaller size may have stayed in a cache.
    rate = 0;
    for (const record of kinds) {
      await timed(device, record);
      let took = Number.POSITIVE_INFINITY;
      for (let i = 0; i < REPEATS; i++) took = Math.min(took, await timed(device, record));
      rate = Math.max(rate, (2 * bytes * COPIES) / (took / 1000));
      slowest = Math.max(slowest, took);
    }
    from.destroy();
    to.destroy();
    if (slowest > LONG) break;
  }
  return rate;
}

/** Copies in one submission: a single one is shorter than its submission on a fast GPU. */
const COPIES = 8;
