/** A small WebAssembly assembler: typed expressions, structured functions, binary modules. */
export { type Func, FunctionBuilder, type Label, type MemoryType, ModuleBuilder } from './module.js';
export { f32, f64, i32, i64 } from './scalar.js';
export { f32x4, i8x16, i16x8, i32x4, v128 } from './simd.js';
export type { F32, F64, I32, I64, Local, Type, V128, Value } from './values.js';
