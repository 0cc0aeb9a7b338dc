/// <reference types="@webgpu/types" />
/** Dispatches: cached pipelines and bind groups, one compute pass a batch, writes, reads and the errors of the device. */
import type { Stats, View } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { Bindings } from './bindings.js';
import type { AdapterFacts, OpenGpu } from './device.js';
import { Faults } from './faults.js';
import { type GpuBlock, Memory } from './memory.js';
import { Pipelines } from './pipelines.js';
import { type Definition, makeProgram, type Program, type Variant } from './program.js';
import type { GpuRecording } from './recording.js';
import { GpuTimer } from './timer.js';

/** One step of the GPU's work, as a recording keeps it. */
export type Command =
  | {
      readonly kind: 'dispatch';
      readonly program: Program;
      readonly variant: Variant;
      readonly blocks: readonly GpuBlock[];
      /** Scalars as bits. */
      readonly words: Uint32Array;
      readonly groups: readonly [number, number, number];
    }
  | {
      readonly kind: 'copy';
      readonly from: GpuBlock;
      readonly fromAt: number;
      readonly to: GpuBlock;
      readonly toAt: number;
      readonly bytes: number;
    };

/** Starts a kernel on views by buffer name, with scalars by name, over a number (or a grid) of workgroups. */
export type Launch = (
  views: Readonly<Record<string, View>>,
  scalars?: Readonly<Record<string, number>>,
  groups?: number | readonly [number, number?, number?],
) => void;

/** The GPU went away; a run goes on from its last checkpoint. */
export class DeviceLostError extends InputError {
  override name = 'DeviceLostError';
  constructor(reason: string) {
    super(
      `The GPU was lost (${reason || 'no reason given'}); start again, a training run resumes from its last checkpoint.`,
    );
  }
}

/** Dispatches that are submitted together: so much that submits are cheap, so little that the GPU starts soon. */
const BATCH = 32;
const MOST_GROUPS = 65535;
const SLOT_WORDS = 64;
const SLOTS = 256;

export class Runtime {
  readonly device: GPUDevice;
  readonly facts: AdapterFacts;
  readonly memory: Memory;
  readonly faults: Faults;
  readonly pipelines: Pipelines;
  readonly bindings: Bindings;
  /** Sees every command and every write while something is captured; then reading is refused. */
  recording: GpuRecording | null = null;
  /** Measures every dispatch while it is set. */
  timer: GpuTimer | null = null;
  private readonly programs = new Map<string, Program>();
  private encoder: GPUCommandEncoder | null = null;
  private pass: GPUComputePassEncoder | null = null;
  private pendingCount = 0;
  private failure: Error | null = null;
  /** Scalars that do not fit beside the dispatch: slots of a uniform buffer, written before the batch. */
  private readonly slots = new Uint32Array(SLOT_WORDS * SLOTS);
  private readonly uniform: GPUBuffer;
  private slot = 0;
  private readonly words = new Uint32Array(SLOT_WORDS);
  private readonly floats = new Float32Array(this.words.buffer);
  private readonly ints = new Int32Array(this.words.buffer);

  constructor(
    readonly open: OpenGpu,
    readonly stats: Stats,
  ) {
    this.device = open.device;
    this.facts = open.facts;
    this.memory = new Memory(
      this.device,
      () => this.flush(),
      (id) => this.bindings.forget(id),
    );
    this.uniform = this.device.createBuffer({ size: 4 * SLOT_WORDS * SLOTS, usage: 0x40 | 0x8 });
    this.bindings = new Bindings(this.device, { buffer: this.uniform, offset: 0, size: 4 * SLOT_WORDS });
    this.faults = new Faults(this.device);
    this.pipelines = new Pipelines(this.device, (error) => {
      // The commands that use it are refused too, which says less.
      if (!(this.failure instanceof DeviceLostError)) this.failure = error;
    });
    this.device.lost.then(({ reason, message }) => {
      if (reason !== 'destroyed') this.lose(message.split('\n')[0] || reason);
    });
    this.device.onuncapturederror = (event) => {
      // It is thrown by the next call instead of being printed.
      event.preventDefault();
      this.failure ??= translated(event.error);
    };
  }

  /** From now on everything is refused, with the reason for which the device went away. */
  lose(reason: string): void {
    this.failure = new DeviceLostError(reason);
  }

  /** The kernel of a key, defined at first use. Equal keys must mean equal definitions. */
  kernel(key: string, define: () => Definition): Launch {
    let program = this.programs.get(key);
    if (!program) {
      program = makeProgram(key, define(), this.facts);
      this.programs.set(key, program);
    }
    const found = program;
    return (views, scalars, groups) => this.launch(found, views, scalars ?? {}, groups ?? 1);
  }

  private launch(
    program: Program,
    views: Readonly<Record<string, View>>,
    scalars: Readonly<Record<string, number>>,
    groups: number | readonly [number, number?, number?],
  ): void {
    if (this.failure) throw this.failure;
    const { names, fields, offsets, written } = program;
    const bound = names.map((name) => this.bindings.bindable(views[name], offsets.has(name)));
    const blocks = bound.map(({ block }) => block);
    const { words, floats, ints } = this;
    fields.forEach(({ name, type }, i) => {
      const value = i < offsets.size ? bound[names.indexOf(name.slice(0, -2))].offset : scalars[name];
      if (value === undefined) throw new TypeError(`kernel ${program.key}: the scalar ${name} was not given`);
      if (type === 'f32') floats[i] = value;
      else if (type === 'i32') ints[i] = value;
      else words[i] = value;
    });
    let promoted = 0;
    for (let i = 0; i < blocks.length; i++) {
      if (!offsets.has(names[i]) && bound[i].offset !== 0)
        throw new TypeError(
          `kernel ${program.key}: ${names[i]} does not begin at its block, and p.${names[i]}At is not read`,
        );
      // A buffer must not be bound as read and as written at once, even in ranges that do not meet.
      if (!written[i] && blocks.some((b, k) => written[k] && b.id === blocks[i].id)) promoted |= 1 << i;
    }
    const variant = this.pipelines.variant(program, promoted);
    const [x, y = 1, z = 1] = typeof groups === 'number' ? gridOf(groups) : groups;
    if (x * y * z === 0 || this.pipelines.isWarming) return;
    this.encode({
      kind: 'dispatch',
      program,
      variant,
      blocks,
      words: words.slice(0, fields.length),
      groups: [x, y, z],
    });
  }

  /** Bytes that one binding may have. */
  get mostBound(): number {
    return this.bindings.most;
  }

  /** Copies bytes between blocks; all three numbers are multiples of 4. */
  copyBytes(from: GpuBlock, fromAt: number, to: GpuBlock, toAt: number, bytes: number): void {
    if (this.failure) throw this.failure;
    if (bytes === 0 || this.pipelines.isWarming) return;
    this.encode({ kind: 'copy', from, fromAt, to, toAt, bytes });
  }

  private encode(command: Command): void {
    if (this.recording?.take(command)) return;
    // Copies are no kernels: they start nothing on the GPU's cores.
    if (command.kind === 'dispatch') this.stats.launches++;
    this.encoder ??= this.device.createCommandEncoder();
    if (command.kind === 'copy') {
      this.endPass();
      const { from, fromAt, to, toAt, bytes } = command;
      this.encoder.copyBufferToBuffer(from.buffer, from.start + fromAt, to.buffer, to.start + toAt, bytes);
    } else {
      const { program, variant, blocks, words, groups } = command;
      if (this.timer) {
        this.endPass();
        this.pass = this.timer.pass(this.encoder, program.key);
      } else this.pass ??= this.encoder.beginComputePass();
      this.pass.setPipeline(variant.pipeline as GPUComputePipeline);
      const group = this.bindings.group(program, variant, blocks);
      if (words.length === 0) this.pass.setBindGroup(0, group);
      else if (program.immediate) {
        this.pass.setBindGroup(0, group);
        this.pass.setImmediates(0, words as Uint32Array<ArrayBuffer>);
      } else {
        this.slots.set(words, this.slot * SLOT_WORDS);
        this.pass.setBindGroup(0, group, [4 * SLOT_WORDS * this.slot++]);
      }
      this.pass.dispatchWorkgroups(...groups);
    }
    if (++this.pendingCount >= BATCH || this.slot === SLOTS) this.flush();
  }

  private endPass(): void {
    this.pass?.end();
    this.pass = null;
  }

  /** Submits what was encoded. */
  flush(): void {
    if (!this.encoder) return;
    this.endPass();
    const commands = this.encoder.finish();
    this.encoder = null;
    this.pendingCount = 0;
    if (this.slot > 0) {
      this.device.queue.writeBuffer(this.uniform, 0, this.slots, 0, this.slot * SLOT_WORDS);
      this.slot = 0;
    }
    this.device.queue.submit([commands]);
  }

  /** Begins to measure dispatches; null on an adapter without timestamps. */
  startTimer(): GpuTimer | null {
    if (!this.facts.timestamps || this.timer) return null;
    this.flush();
    this.timer = new GpuTimer(this.device, (timer) => {
      this.timer = null;
      this.encoder ??= this.device.createCommandEncoder();
      this.endPass();
      timer.resolve(this.encoder);
      this.flush();
    });
    return this.timer;
  }

  /** Submits work that was encoded elsewhere, behind what is pending. */
  submit(commands: GPUCommandBuffer): void {
    if (this.failure) throw this.failure;
    this.flush();
    this.device.queue.submit([commands]);
  }

  /** Overwrites bytes of a block; `at` is a multiple of 4, and so is the length unless it reaches the block's end. */
  write(block: GpuBlock, at: number, bytes: Uint8Array): void {
    if (this.failure) throw this.failure;
    if (bytes.length === 0) return;
    if (at % 4 !== 0 || (bytes.length % 4 !== 0 && at + bytes.length !== block.bytes))
      throw new RangeError(`a write of ${bytes.length} bytes at ${at} does not consist of whole words`);
    if (this.recording) this.recording.write(block, at, bytes);
    else this.upload(block, at, bytes);
  }

  /** The same at once, whatever is recorded. */
  upload(block: GpuBlock, at: number, bytes: Uint8Array): void {
    this.flush();
    const { queue } = this.device;
    const whole = bytes.length - (bytes.length % 4);
    // The queue copies what it is given before it returns: pieces bound what lies there twice.
    for (let from = 0; from < whole; from += WRITE_PIECE) {
      const size = Math.min(WRITE_PIECE, whole - from);
      queue.writeBuffer(block.buffer, block.start + at + from, bytes as Uint8Array<ArrayBuffer>, from, size);
    }
    if (whole < bytes.length) {
      const tail = new Uint8Array(4);
      tail.set(bytes.subarray(whole));
      queue.writeBuffer(block.buffer, block.start + at + whole, tail);
    }
  }

  /** Bytes of a block, when everything before has been done. Rejects with what went wrong on the device till then. */
  async read(block: GpuBlock, at: number, length: number): Promise<Uint8Array> {
    if (this.recording) throw new InputError(READ_WHILE_RECORDING);
    const first = at - (at % 4);
    const size = Math.ceil((at + length - first) / 4) * 4;
    const staging = this.device.createBuffer({ size: Math.max(4, size) + Faults.BYTES, usage: 0x1 | 0x8 });
    try {
      if (this.failure) throw this.failure;
      this.encoder ??= this.device.createCommandEncoder();
      this.endPass();
      if (size > 0) this.encoder.copyBufferToBuffer(block.buffer, block.start + first, staging, Faults.BYTES, size);
      this.faults.copyTo(this.encoder, staging);
      this.flush();
      await staging.mapAsync(1);
      const all = new Uint8Array(staging.getMappedRange());
      const bytes = all.slice(Faults.BYTES + at - first, Faults.BYTES + at - first + length);
      const fault = this.faults.taken(all);
      if (this.failure) throw this.failure;
      if (fault) throw fault;
      return bytes;
    } catch (error) {
      throw await this.reasonOf(error);
    } finally {
      staging.destroy();
    }
  }

  /** Waits until everything started has finished. */
  async sync(): Promise<void> {
    if (this.recording) throw new InputError(READ_WHILE_RECORDING);
    this.flush();
    try {
      await this.device.queue.onSubmittedWorkDone();
    } catch (error) {
      throw await this.reasonOf(error);
    }
    if (this.failure) throw this.failure;
  }

  /** Why something failed: the device's loss or a kernel that does not compile rather than what followed from it. */
  private async reasonOf(error: unknown): Promise<unknown> {
    await this.pipelines.settled();
    if (this.failure || error instanceof InputError) return this.failure ?? error;
    const lost = await Promise.race([
      this.device.lost,
      new Promise<null>((resolve) => setTimeout(() => resolve(null), 100)),
    ]);
    if (lost) this.failure ??= new DeviceLostError(lost.message.split('\n')[0] || lost.reason);
    return this.failure ?? error;
  }

  /** Compiles, in parallel, every kernel that `fn` would start, and starts none. What `fn` computes is garbage. */
  warm(fn: () => void): Promise<void> {
    this.flush();
    return this.pipelines.warm(fn);
  }

  async dispose(): Promise<void> {
    this.flush();
    await this.device.queue.onSubmittedWorkDone().catch(() => {});
    this.memory.dispose();
    this.bindings.dispose();
    this.device.destroy();
  }
}

const READ_WHILE_RECORDING = 'A value was read while a step is being captured; read it after the step has run.';

const WRITE_PIECE = 2 ** 25;

/** A grid of so many workgroups; code counts them by `group_id.x + group_id.y * group_count.x`. */
export function gridOf(groups: number): [number, number, number] {
  if (groups <= MOST_GROUPS) return [groups, 1, 1];
  const y = Math.ceil(groups / MOST_GROUPS);
  return [Math.ceil(groups / y), y, 1];
}

function translated(error: GPUError): Error {
  const text = error.message.split('\n')[0];
  const memory = typeof GPUOutOfMemoryError !== 'undefined' && error instanceof GPUOutOfMemoryError;
  return memory
    ? new InputError(`The GPU has no more memory (${text}); use a smaller model, batch or image.`)
    : new Error(`the GPU refused a command: ${error.message}`);
}
