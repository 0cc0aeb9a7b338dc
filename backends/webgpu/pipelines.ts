/// <reference types="@webgpu/types" />
/** Compiled kernels: layouts shared by all that bind alike, pipelines made at first use or ahead. */
import { messageOf } from '../../core/errors.js';
import { warn } from '../../core/runtime.js';
import { type Program, textOf, type Variant } from './program.js';

/** GPUShaderStage.COMPUTE, which Node's module does not define before it is loaded. */
const COMPUTE = 4;

export class Pipelines {
  private readonly layouts = new Map<string, GPUBindGroupLayout>();
  /** Answers about kernels that are still being compiled. */
  private readonly compiling = new Set<Promise<void>>();
  /** Set while kernels are compiled ahead: nothing is dispatched then. */
  private warming: Promise<void>[] | null = null;

  constructor(
    private readonly device: GPUDevice,
    /** Is told of a kernel that does not compile. */
    private readonly onFailure: (error: Error) => void,
  ) {}

  get isWarming(): boolean {
    return this.warming !== null;
  }

  /** Waits until it is known whether every kernel compiles. */
  async settled(): Promise<void> {
    await Promise.all(this.compiling);
  }

  /** The layout and pipeline of a program; compiled at first use. */
  variant(program: Program, promoted: number): Variant {
    let variant = program.variants.get(promoted);
    if (!variant) {
      variant = this.makeVariant(program, promoted);
      program.variants.set(promoted, variant);
    }
    if (!variant.pipeline && !this.warming) this.compile(program, promoted, variant);
    return variant;
  }

  private makeVariant(program: Program, promoted: number): Variant {
    const { written, fields, immediate } = program;
    const types = written.map((w, i) => (w || (promoted >> i) & 1 ? 'storage' : 'read-only-storage'));
    const hasUniform = fields.length > 0 && !immediate;
    const layoutKey = `${types.map((t) => t[0]).join('')}${hasUniform ? 'u' : ''}`;
    let layout = this.layouts.get(layoutKey);
    if (!layout) {
      const entries: GPUBindGroupLayoutEntry[] = types.map((type, binding) => ({
        binding,
        visibility: COMPUTE,
        buffer: { type: type as GPUBufferBindingType },
      }));
      if (hasUniform)
        entries.push({
          binding: entries.length,
          visibility: COMPUTE,
          buffer: { type: 'uniform', hasDynamicOffset: true },
        });
      layout = this.device.createBindGroupLayout({ entries });
      this.layouts.set(layoutKey, layout);
    }
    const variant: Variant = { layout, layoutKey, pipeline: null, pending: null };
    if (this.warming) {
      variant.pending = this.device
        .createComputePipelineAsync(this.descriptor(program, promoted, layout))
        .then((pipeline) => {
          variant.pipeline ??= pipeline;
        })
        .finally(() => {
          variant.pending = null;
        });
      this.warming.push(variant.pending);
    }
    return variant;
  }

  private descriptor(program: Program, promoted: number, layout: GPUBindGroupLayout): GPUComputePipelineDescriptor {
    const { fields, immediate, key } = program;
    const module = this.device.createShaderModule({ code: textOf(program, promoted), label: key });
    const immediates = immediate && fields.length > 0 ? { immediateSize: 4 * fields.length } : {};
    const pipelineLayout = this.device.createPipelineLayout({ bindGroupLayouts: [layout], ...immediates });
    return { layout: pipelineLayout, compute: { module, entryPoint: 'main' }, label: key };
  }

  private compile(program: Program, promoted: number, variant: Variant): void {
    // Nothing throws here: a kernel that does not compile would be dropped in silence.
    this.device.pushErrorScope('validation');
    variant.pipeline = this.device.createComputePipeline(this.descriptor(program, promoted, variant.layout));
    const checked = this.device.popErrorScope().then(
      (error) => {
        if (error) this.onFailure(new Error(`kernel ${program.key} does not compile: ${error.message}`));
      },
      () => {},
    );
    this.compiling.add(checked);
    checked.finally(() => this.compiling.delete(checked));
  }

  /** Compiles, in parallel, every kernel that `fn` would start, while nothing is dispatched. */
  async warm(fn: () => void): Promise<void> {
    const pending: Promise<void>[] = [];
    this.warming = pending;
    try {
      fn();
    } finally {
      this.warming = null;
    }
    const results = await Promise.allSettled(pending);
    const failed = results.find((r) => r.status === 'rejected');
    if (failed) warn(`A kernel did not compile ahead: ${messageOf((failed as PromiseRejectedResult).reason)}`);
  }
}
