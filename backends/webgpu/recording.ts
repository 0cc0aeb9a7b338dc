/// <reference types="@webgpu/types" />
/** Commands that were recorded while they ran, and are submitted again as one command buffer. */
import type { Recording } from '../../core/backend.js';
import { type GpuBlock, sizeClass } from './memory.js';
import type { Command, Runtime } from './runtime.js';

/** What happened while recording, in order. */
type Entry =
  | { readonly kind: 'alloc'; readonly block: GpuBlock }
  | { readonly kind: 'write'; readonly constant: GpuBlock }
  | { readonly kind: 'command'; readonly command: Command; readonly index: number };

/** A command, ready to be encoded. */
type Step =
  | { readonly kind: 'copy'; readonly command: Extract<Command, { kind: 'copy' }> }
  | {
      readonly kind: 'dispatch';
      readonly pipeline: GPUComputePipeline;
      readonly group: GPUBindGroup;
      /** Scalars beside the dispatch, or where they lie in the uniform buffer. */
      readonly words: Uint32Array<ArrayBuffer> | null;
      readonly offset: readonly [number] | null;
      readonly groups: readonly [number, number, number];
      /** For profiles: what it is called, and whose it was when it was recorded. */
      readonly name: string;
      readonly owner: number;
    };

const SLOT_BYTES = 256;

export class GpuRecording implements Recording {
  private readonly log: Entry[] = [];
  private readonly list: Command[] = [];
  private readonly owners: number[] = [];
  /** Free blocks of the recording, by size class. */
  private readonly idle = new Map<number, GpuBlock[]>();
  private readonly own: GpuBlock[] = [];
  private readonly constants: GpuBlock[] = [];
  private mode: 'recording' | 'refreshing' | 'ended' = 'recording';
  private cursor = 0;
  private steps: Step[] | null = null;
  /** Scalars that do not travel with the dispatch. */
  private slots: Uint32Array<ArrayBuffer> | null = null;
  private uniform: GPUBuffer | null = null;
  private slotOf = new Map<number, number>();
  private dirty = false;
  /** What is counted as in use because the recording keeps it. */
  private held: { bytes: number; blocks: number } | null = null;

  constructor(private readonly rt: Runtime) {
    rt.recording = this;
    rt.memory.pool = this;
  }

  get commands(): number {
    return this.list.length;
  }

  get position(): number {
    return this.log.length;
  }

  /** Memory while the step runs: blocks go round inside the recording, so that a replay finds them unused by others. */
  alloc(bytes: number): GpuBlock {
    if (this.mode === 'refreshing') return this.expected('alloc').block;
    const known = this.idle.get(sizeClass(bytes))?.pop();
    const taken = known ?? this.rt.memory.take(bytes);
    const block = { ...taken, bytes };
    if (!known) {
      this.own.push(block);
      this.rt.memory.owners.set(block.id, this);
    }
    this.log.push({ kind: 'alloc', block });
    return block;
  }

  free(block: GpuBlock): void {
    if (this.mode === 'refreshing') return;
    const list = this.idle.get(block.room);
    if (list) list.push(block);
    else this.idle.set(block.room, [block]);
  }

  /** Takes note of a command; returns whether it is to be left at that. */
  take(command: Command): boolean {
    if (this.mode === 'recording') {
      this.log.push({ kind: 'command', command, index: this.list.length });
      this.list.push(command);
      this.owners.push(this.rt.timer?.owner ?? -1);
      return false;
    }
    const { command: known, index } = this.expected('command');
    if (!sameWork(known, command)) throw mismatch();
    if (known.kind === 'dispatch' && command.kind === 'dispatch') {
      known.words.set(command.words);
      const slot = this.slotOf.get(index);
      if (slot !== undefined) {
        this.slots?.set(command.words, (slot * SLOT_BYTES) / 4);
        this.dirty = true;
      }
    }
    return true;
  }

  /** Host values: kept, and copied to their place by each replay, because that place may be used for other things too. */
  write(block: GpuBlock, at: number, bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (this.mode === 'refreshing') {
      this.rt.upload(this.expected('write').constant, 0, bytes);
      this.expected('command');
      return;
    }
    const constant = { ...this.rt.memory.take(bytes.length), bytes: bytes.length };
    this.constants.push(constant);
    this.rt.upload(constant, 0, bytes);
    this.log.push({ kind: 'write', constant });
    this.rt.copyBytes(constant, 0, block, at, Math.ceil(bytes.length / 4) * 4);
  }

  private expected<K extends Entry['kind']>(kind: K): Extract<Entry, { kind: K }> {
    const entry = this.log[this.cursor++];
    if (entry?.kind !== kind) throw mismatch();
    return entry as Extract<Entry, { kind: K }>;
  }

  end(): void {
    if (this.mode !== 'recording') return;
    this.mode = 'ended';
    this.rt.recording = null;
    this.rt.memory.pool = null;
    const idle = [...this.idle.values()].flat();
    this.held = {
      bytes: [...idle, ...this.constants].reduce((n, b) => n + b.room, 0),
      blocks: idle.length + this.constants.length,
    };
    this.rt.stats.liveBytes += this.held.bytes;
    this.rt.stats.liveBlocks += this.held.blocks;
    this.rt.stats.peakBytes = Math.max(this.rt.stats.peakBytes, this.rt.stats.liveBytes);
  }

  refresh(position: number, again: () => void): void {
    this.mode = 'refreshing';
    this.cursor = position;
    this.rt.recording = this;
    this.rt.memory.pool = this;
    try {
      again();
    } finally {
      this.mode = 'ended';
      this.rt.recording = null;
      this.rt.memory.pool = null;
    }
  }

  replay(): void {
    const { rt } = this;
    this.steps ??= this.prepare();
    if (this.dirty && this.uniform && this.slots) {
      rt.device.queue.writeBuffer(this.uniform, 0, this.slots);
      this.dirty = false;
    }
    if (this.steps.length === 0) return;
    rt.stats.launches += this.steps.reduce((n, step) => n + (step.kind === 'dispatch' ? 1 : 0), 0);
    rt.submit(this.encoded(this.steps));
  }

  private encoded(steps: readonly Step[]): GPUCommandBuffer {
    const encoder = this.rt.device.createCommandEncoder();
    let pass: GPUComputePassEncoder | null = null;
    let pipeline: GPUComputePipeline | null = null;
    let group: GPUBindGroup | null = null;
    const { timer } = this.rt;
    for (const step of steps) {
      if (step.kind === 'copy') {
        pass?.end();
        pass = pipeline = group = null;
        const { from, fromAt, to, toAt, bytes } = step.command;
        encoder.copyBufferToBuffer(from.buffer, from.start + fromAt, to.buffer, to.start + toAt, bytes);
        continue;
      }
      if (timer) {
        pass?.end();
        pipeline = group = null;
        pass = timer.pass(encoder, step.name, step.owner, true);
      } else pass ??= encoder.beginComputePass();
      if (step.pipeline !== pipeline) {
        pipeline = step.pipeline;
        pass.setPipeline(pipeline);
      }
      if (step.offset) {
        pass.setBindGroup(0, step.group, step.offset);
        group = null;
      } else if (step.group !== group) {
        group = step.group;
        pass.setBindGroup(0, group);
      }
      if (step.words) pass.setImmediates(0, step.words);
      pass.dispatchWorkgroups(step.groups[0], step.groups[1], step.groups[2]);
    }
    pass?.end();
    return encoder.finish();
  }

  /** Bind groups and scalars of all commands, made once. */
  private prepare(): Step[] {
    const { device } = this.rt;
    this.list.forEach((c, i) => {
      if (c.kind === 'dispatch' && !c.program.immediate && c.words.length > 0) this.slotOf.set(i, this.slotOf.size);
    });
    if (this.slotOf.size > 0) {
      const size = SLOT_BYTES * this.slotOf.size;
      this.uniform = device.createBuffer({ size, usage: 0x40 | 0x8 });
      this.slots = new Uint32Array(size / 4);
      this.dirty = true;
    }
    const groups = new Map<string, GPUBindGroup>();
    return this.list.map((command, i): Step => {
      if (command.kind === 'copy') return { kind: 'copy', command };
      const { program, variant, blocks, words } = command;
      const slot = this.slotOf.get(i);
      if (slot !== undefined) this.slots?.set(words, (slot * SLOT_BYTES) / 4);
      const key = `${variant.layoutKey}|${blocks.map((b) => `${b.id}/${b.start}-${b.room}`)}`;
      let group = groups.get(key);
      if (!group) {
        const scalars = { buffer: this.uniform as GPUBuffer, offset: 0, size: SLOT_BYTES };
        group = this.rt.bindings.make(program, variant, blocks, scalars);
        groups.set(key, group);
      }
      return {
        kind: 'dispatch',
        pipeline: variant.pipeline as GPUComputePipeline,
        group,
        words: slot === undefined && words.length > 0 ? (words as Uint32Array<ArrayBuffer>) : null,
        offset: slot === undefined ? null : [SLOT_BYTES * slot],
        groups: command.groups,
        name: program.key,
        owner: this.owners[i],
      };
    });
  }

  dispose(): void {
    this.end();
    const { memory, stats } = this.rt;
    if (this.held) {
      stats.liveBytes -= this.held.bytes;
      stats.liveBlocks -= this.held.blocks;
      this.held = null;
    }
    this.uniform?.destroy();
    this.uniform = null;
    // A block that somebody still holds is an ordinary one from now on.
    for (const { id } of this.own.splice(0)) memory.owners.delete(id);
    for (const block of [...this.constants.splice(0), ...[...this.idle.values()].flat()]) memory.free(block);
    this.idle.clear();
    this.log.length = this.list.length = 0;
    this.steps = null;
  }
}

/** Whether two commands differ in nothing but scalars. */
function sameWork(a: Command, b: Command): boolean {
  if (a.kind === 'copy' || b.kind === 'copy')
    return (
      a.kind === 'copy' && b.kind === 'copy' && a.from.id === b.from.id && a.to.id === b.to.id && a.bytes === b.bytes
    );
  return (
    a.variant === b.variant &&
    a.blocks.every((block, i) => block.id === b.blocks[i].id && block.start === b.blocks[i].start) &&
    a.groups.every((n, i) => n === b.groups[i])
  );
}

const mismatch = (): Error => new Error('a kernel of a captured step started other work than when it was captured');
