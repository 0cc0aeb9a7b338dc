/// <reference types="@webgpu/types" />
/** What kernels are given: bind groups, kept as long as their buffers exist, and the parts of very large blocks. */
import type { View } from '../../core/backend.js';
import { bytesOf } from '../../core/dtype.js';
import { InputError } from '../../core/errors.js';
import type { GpuBlock } from './memory.js';
import type { Program, Variant } from './program.js';

export class Bindings {
  /** Bytes that one binding may have. */
  readonly most: number;
  private readonly groups = new Map<string, GPUBindGroup>();
  /** Keys of the bind groups that hold a buffer. */
  private readonly keysOf = new Map<number, Set<string>>();

  constructor(
    private readonly device: GPUDevice,
    /** Where scalars lie that do not travel with the dispatch. */
    private readonly scalars: GPUBufferBinding,
  ) {
    const { maxStorageBufferBindingSize: most } = device.limits;
    this.most = most - (most % 256);
  }

  /**
   * What is bound for a view: its block, or a part of it where the block is very large or the code wants the view at the
   * start of its array.
   */
  bindable(view: View, seesOffset: boolean): { block: GpuBlock; offset: number } {
    const { block, offset, shape, strides, dtype } = view;
    const whole = block as GpuBlock;
    const { most } = this;
    const size = bytesOf(dtype);
    const moves = !seesOffset && offset > 0 && (offset * size) % 256 === 0;
    if (whole.room <= most && !moves) return { block: whole, offset };
    const start = offset * size - ((offset * size) % 256);
    const last = shape.reduce((at, d, i) => at + (d - 1) * strides[i], offset);
    const end = (last + 1) * size;
    // Without a shape a view may reach anything.
    if (shape.includes(0) || end - start > most) throw tooLarge(most, end - start);
    const room = Math.min(most, whole.room - start);
    return { block: { ...whole, start: whole.start + start, room, window: true }, offset: offset - start / size };
  }

  /** The bind group of a kernel on these blocks. */
  group(program: Program, variant: Variant, blocks: readonly GpuBlock[]): GPUBindGroup {
    let key = variant.layoutKey;
    for (const b of blocks) key += b.slab || b.window ? `,${b.id}/${b.start}-${b.room}` : `,${b.id}`;
    let group = this.groups.get(key);
    if (!group) {
      group = this.make(program, variant, blocks, this.scalars);
      this.groups.set(key, group);
      for (const b of blocks) {
        let keys = this.keysOf.get(b.id);
        if (!keys) {
          keys = new Set();
          this.keysOf.set(b.id, keys);
        }
        keys.add(key);
      }
    }
    return group;
  }

  /** A bind group that is not kept here, for a recording. */
  make(program: Program, variant: Variant, blocks: readonly GpuBlock[], scalars: GPUBufferBinding): GPUBindGroup {
    const entries: GPUBindGroupEntry[] = blocks.map((b, binding) => ({
      binding,
      resource: { buffer: b.buffer, offset: b.start, size: b.room },
    }));
    if (program.fields.length > 0 && !program.immediate) entries.push({ binding: entries.length, resource: scalars });
    return this.device.createBindGroup({ layout: variant.layout, entries });
  }

  /** Lets go of the groups that hold a buffer. */
  forget(id: number): void {
    for (const key of this.keysOf.get(id) ?? []) this.groups.delete(key);
    this.keysOf.delete(id);
  }

  dispose(): void {
    this.groups.clear();
    this.keysOf.clear();
  }
}

const tooLarge = (most: number, bytes: number): InputError =>
  new InputError(
    `This GPU computes on at most ${Math.floor(most / 2 ** 20)} MB of a tensor at once, and an operation needs ${Math.ceil(bytes / 2 ** 20)} MB; use a smaller model, batch or image, or the device wasm.`,
  );
