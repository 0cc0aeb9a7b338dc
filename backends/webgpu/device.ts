/// <reference types="@webgpu/types" />
/** Which GPU we run on: the browser's in a page, Dawn (the package `webgpu`) in Node, SwiftShader by name. */
import { InputError, messageOf } from '../../core/errors.js';
import { inNode, isSecurePage, pageGpu } from '../../core/runtime.js';

/** Matrix units of the adapter: one multiplication [M, K] x [K, N] a subgroup. */
export interface MatrixConfig {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly componentType: string;
  readonly resultComponentType: string;
}

/** What is known of an adapter. */
export interface AdapterFacts {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  /** shader-f16: float16 is computed and not only stored. */
  readonly half: boolean;
  readonly subgroups: boolean;
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  readonly timestamps: boolean;
  /** Up to 64 bytes of scalars travel with the dispatch. */
  readonly immediates: boolean;
  readonly matrices: readonly MatrixConfig[];
}

export interface OpenGpu {
  readonly gpu: GPU;
  readonly adapter: GPUAdapter;
  readonly device: GPUDevice;
  readonly facts: AdapterFacts;
}

const SOFTWARE = 'swiftshader';

/** NVIDIA on Linux hides shader-f16, and with it the matrix units, without the first; the second offers immediates. */
const DAWN = [
  'enable-dawn-features=vulkan_enable_f16_on_nvidia,allow_unsafe_apis',
  // SwiftShader compiles every element of workgroup memory that is so cleared: seconds a kernel instead of 0.1 s. And
  // times would be multiples of 66 us, longer than most kernels take.
  'disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension,timestamp_quantization',
];

const FEATURES = ['shader-f16', 'subgroups', 'timestamp-query', 'chromium-experimental-subgroup-matrix'];

/** Limits that are asked for as high as the adapter goes. */
const LIMITS = [
  'maxBufferSize',
  'maxStorageBufferBindingSize',
  'maxStorageBuffersPerShaderStage',
  'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup',
  'maxComputeWorkgroupSizeX',
  'maxComputeWorkgroupSizeY',
  'maxImmediateSize',
] as const;

const NO_GPU =
  'No GPU was found for the webgpu backend; install a driver with Vulkan, Metal or Direct3D 12, or use the device wasm.';

/** Newer than the types: immediates and matrix units. */
type NewLimits = GPUSupportedLimits & Readonly<Record<(typeof LIMITS)[number], number | undefined>>;
type NewInfo = GPUAdapterInfo & {
  readonly subgroupMatrixConfigs?: Iterable<MatrixConfig>;
  readonly subgroupMinSize?: number;
  readonly subgroupMaxSize?: number;
};

/** Dawn's entries by the adapter that was asked for. */
const instances = new Map<string, Promise<GPU>>();

async function dawn(adapter: string | undefined): Promise<GPU> {
  const isSoftware = adapter?.toLowerCase() === SOFTWARE;
  if (isSoftware) await (await import('./software.js')).loadSoftwareVulkan();
  let module: typeof import('webgpu');
  try {
    module = await import('webgpu');
  } catch (error) {
    const missing = (error as { code?: string }).code === 'ERR_MODULE_NOT_FOUND';
    throw new InputError(
      missing
        ? 'The webgpu backend needs the package webgpu in Node; install it with `npm install webgpu`.'
        : `The package webgpu does not load on this machine (${messageOf(error).split('\n')[0]}); use another device.`,
    );
  }
  if (!isSoftware && !(await canHaveVulkan())) throw new InputError(NO_GPU);
  Object.assign(globalThis, module.globals);
  const wanted = adapter && !isSoftware ? [`adapter=${adapter}`] : [];
  return module.create([...DAWN, ...wanted]);
}

async function entry(adapter: string | undefined): Promise<GPU> {
  if (inNode()) {
    const key = adapter?.toLowerCase() ?? '';
    let instance = instances.get(key);
    if (!instance) {
      instance = dawn(adapter);
      instances.set(key, instance);
      instance.catch(() => instances.delete(key));
    }
    return instance;
  }
  const gpu = pageGpu() as GPU | null;
  if (!gpu) {
    throw new InputError(
      !isSecurePage()
        ? 'This page has no WebGPU because it was not loaded over https or from localhost; use the device wasm.'
        : 'This browser has no WebGPU; use the device gpujs or wasm, or a newer browser.',
    );
  }
  return gpu;
}

/** The adapter of a name, or the fastest; throws InputError when there is none. */
export async function findAdapter(name?: string): Promise<{ gpu: GPU; adapter: GPUAdapter }> {
  const gpu = await entry(name);
  let adapter: GPUAdapter | null;
  try {
    adapter = await gpu.requestAdapter({ powerPreference: 'high-performance' });
  } catch (error) {
    // Dawn lists the adapters that it knows.
    const list = messageOf(error)
      .split('\n')
      .flatMap((line) => /name: '(.*)'/.exec(line)?.slice(1) ?? []);
    throw new InputError(
      `There is no GPU adapter named ${name}; ${list.length > 0 ? `expected a part of ${list.join(' or ')}` : 'none was found here'}.`,
    );
  }
  if (!adapter) {
    throw new InputError(inNode() ? NO_GPU : 'This browser found no GPU for WebGPU; use the device gpujs or wasm.');
  }
  return { gpu, adapter };
}

/** Whether a GPU in hardware answers; silent where there is none. */
export async function hasHardware(): Promise<boolean> {
  if (inNode() ? !(await canHaveVulkan()) : pageGpu() === null) return false;
  try {
    const { adapter } = await findAdapter();
    const { vendor, architecture, description } = adapter.info;
    const isFallback = (adapter.info as { isFallbackAdapter?: boolean }).isFallbackAdapter === true;
    return !isFallback && !/swiftshader|llvmpipe|lavapipe/i.test(`${vendor} ${architecture} ${description}`);
  } catch {
    return false;
  }
}

/** Dawn complains on stderr where Linux has no Vulkan loader: so nobody asks it then. */
async function canHaveVulkan(): Promise<boolean> {
  if (process.platform !== 'linux') return true;
  return (await import('./software.js')).opensAndStays('libvulkan.so.1');
}

/** What an adapter offers. */
export function factsOf(gpu: GPU, adapter: GPUAdapter): AdapterFacts {
  const info = adapter.info as NewInfo;
  const has = (feature: string) => (adapter.features as ReadonlySet<string>).has(feature);
  const limits = adapter.limits as NewLimits;
  return {
    vendor: info.vendor,
    architecture: info.architecture,
    description: info.description || info.device || info.architecture || info.vendor || 'unnamed adapter',
    half: has('shader-f16'),
    subgroups: has('subgroups'),
    subgroupMinSize: info.subgroupMinSize ?? 0,
    subgroupMaxSize: info.subgroupMaxSize ?? 0,
    timestamps: has('timestamp-query'),
    immediates:
      (limits.maxImmediateSize ?? 0) >= 64 &&
      ((gpu.wgslLanguageFeatures as ReadonlySet<string> | undefined)?.has('immediate_address_space') ?? false),
    matrices: has('chromium-experimental-subgroup-matrix') ? [...(info.subgroupMatrixConfigs ?? [])] : [],
  };
}

export interface DeviceOptions {
  readonly adapter?: string;
  /** Features not to ask for, though the adapter has them (`limits`: no limit above the least): for tests. */
  readonly without?: readonly string[];
}

/** A device with every feature and limit that our kernels can use. */
export async function openDevice({ adapter: name, without = [] }: DeviceOptions = {}): Promise<OpenGpu> {
  const { gpu, adapter } = await findAdapter(name);
  const known = factsOf(gpu, adapter);
  const facts = {
    ...known,
    half: known.half && !without.includes('shader-f16'),
    subgroups: known.subgroups && !without.includes('subgroups'),
    timestamps: known.timestamps && !without.includes('timestamp-query'),
    immediates: known.immediates && !without.includes('immediates'),
    matrices: without.includes('shader-f16') || without.includes('subgroups') ? [] : known.matrices,
  };
  const limits = adapter.limits as NewLimits;
  const requiredLimits = Object.fromEntries(
    LIMITS.flatMap((limit) =>
      limits[limit] === undefined || (without.includes('limits') && limit !== 'maxImmediateSize')
        ? []
        : [[limit, limits[limit]]],
    ),
  );
  const requiredFeatures = FEATURES.filter(
    (f) => (adapter.features as ReadonlySet<string>).has(f) && !without.includes(f),
  ) as GPUFeatureName[];
  const device = await adapter.requestDevice({ requiredFeatures, requiredLimits });
  const matrices = facts.matrices.length > 0 && (await knowsMatrices(device)) ? facts.matrices : [];
  return { gpu, adapter, device, facts: { ...facts, matrices } };
}

/** Whether the compiler takes matrix units as our kernels spell them: the extension is experimental and has changed. */
export async function knowsMatrices(device: GPUDevice): Promise<boolean> {
  device.pushErrorScope('validation');
  device.createShaderModule({
    code: `enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
var<workgroup> tile: array<f16, 2048>;
var<workgroup> sums: array<f32, 2048>;
@compute @workgroup_size(128)
fn main(@builtin(subgroup_id) warp: u32, @builtin(subgroup_invocation_id) lane: u32) {
  let left = subgroupMatrixLoad<subgroup_matrix_left<f16, 8, 8>, row_major>(&tile, warp * 8u, 40u);
  let right = subgroupMatrixLoad<subgroup_matrix_right<f16, 8, 8>, col_major>(&tile, warp * 8u, 40u);
  var sum = subgroup_matrix_result<f32, 8, 8>();
  sum = subgroupMatrixMultiplyAccumulate(left, right, sum);
  subgroupMatrixStore<row_major>(&sums, warp * 8u, sum, 40u);
}`,
  });
  return (await device.popErrorScope()) === null;
}
