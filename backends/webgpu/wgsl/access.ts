/** How elements of each dtype lie in GPU memory, and the WGSL that reads and packs them. */
import type { DType } from '../../../core/dtype.js';

/** In which numbers a kernel computes. */
export type Domain = 'f32' | 'i32';

export const isInteger = (dtype: DType): boolean => dtype === 'int32' || dtype === 'uint8' || dtype === 'bool';

/** Elements in a 32-bit word. */
export function perWord(dtype: DType, half: boolean): 1 | 2 | 4 {
  if (dtype === 'uint8' || dtype === 'bool') return 4;
  return dtype === 'bfloat16' || (dtype === 'float16' && !half) ? 2 : 1;
}

/** WGSL element type of an array of a dtype; `u32` where several share a word. `half`: the GPU computes float16. */
export function arrayType(dtype: DType, half: boolean): 'f32' | 'f16' | 'i32' | 'u32' {
  if (dtype === 'float32') return 'f32';
  if (dtype === 'int32') return 'i32';
  return dtype === 'float16' && half ? 'f16' : 'u32';
}

/** `fn load_<name>(i: u32) -> <domain>`: element i of the array `name`. */
export function loader(name: string, dtype: DType, half: boolean, domain: Domain = 'f32'): string {
  const body = (): string => {
    switch (dtype) {
      case 'float32':
        return `${name}[i]`;
      case 'int32':
        return `${name}[i]`;
      case 'float16':
        return half ? `f32(${name}[i])` : `fromHalf_((${name}[i >> 1u] >> (16u * (i & 1u))) & 0xffffu)`;
      case 'bfloat16':
        return `fromBfloat_((${name}[i >> 1u] >> (16u * (i & 1u))) & 0xffffu)`;
      default:
        return `(${name}[i >> 2u] >> (8u * (i & 3u))) & 0xffu`;
    }
  };
  const native = dtype === 'int32' ? 'i32' : isInteger(dtype) ? 'u32' : 'f32';
  const value = native === domain ? body() : `${domain}(${body()})`;
  return `fn load_${name}(i: u32) -> ${domain} { return ${value}; }`;
}

/** Whether a value is not 0, as NaN is not: the comparison of floats would say that NaN is neither. */
export const isTrue = (value: string, domain: Domain): string =>
  domain === 'f32' ? `(bitcast<u32>(${value}) << 1u) != 0u` : `${value} != 0`;

/** The bits of a value of `domain` as an element of a dtype that shares a word, or the value for one that does not. */
export function encoded(value: string, dtype: DType, half: boolean, domain: Domain = 'f32'): string {
  switch (dtype) {
    case 'float32':
      return domain === 'f32' ? value : `f32(${value})`;
    case 'int32':
      return domain === 'i32' ? value : `i32(${value})`;
    case 'float16':
      return half ? `f16(${value})` : `toHalf_(f32(${value}))`;
    case 'bfloat16':
      return `toBfloat_(f32(${value}))`;
    case 'bool':
      return `select(0u, 1u, ${isTrue(value, domain)})`;
    default:
      return `(u32(i32(${value})) & 0xffu)`;
  }
}

/**
 * WGSL that stores the elements of one invocation: `element(i)` is the encoded element i of a contiguous result `y` of
 * `p.n` elements that begins at a word. Invocation `t` makes element t, or the elements of word t.
 */
export function storeElements(dtype: DType, half: boolean): string {
  const per = perWord(dtype, half);
  if (per === 1) return 'if (t < p.n) { y[t] = element(t); }';
  const bits = 32 / per;
  return `if (${per}u * t < p.n) {
    var word = 0u;
    for (var k = 0u; k < ${per}u; k++) {
      let i = ${per}u * t + k;
      if (i < p.n) { word |= element(i) << (${bits}u * k); }
    }
    y[t] = word;
  }`;
}

/** Threads of a workgroup of simple kernels. */
export const THREADS = 256;

/** The head of `main` for `THREADS` invocations a group on a grid of `gridOf`; `t` counts them all. */
export const MAIN = `@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group_id: vec3u, @builtin(num_workgroups) group_count: vec3u, @builtin(local_invocation_index) lane: u32) {
  let t = (group_id.x + group_id.y * group_count.x) * ${THREADS}u + lane;`;

/** Workgroups for so many elements of a dtype, by `storeElements`. */
export const groupsFor = (elements: number, dtype: DType, half: boolean): number =>
  Math.ceil(elements / (THREADS * perWord(dtype, half)));
