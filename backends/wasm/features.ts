/** What the engine can do beyond SIMD and threads. */
import { f32x4, ModuleBuilder, v128 } from './assembler/index.js';

let fused: boolean | null = null;

/** Whether relaxed SIMD is there, whose multiply-add is one instruction on current processors. */
export function hasRelaxedSimd(): boolean {
  if (fused === null) {
    const m = new ModuleBuilder();
    m.func([], 'v128', (f) => f.emit(f32x4.relaxedMadd(v128.zero(), v128.zero(), v128.zero()).code));
    fused = WebAssembly.validate(m.encode({ shared: false, maximumPages: 1 }) as Uint8Array<ArrayBuffer>);
  }
  return fused;
}
