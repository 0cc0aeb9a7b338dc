import { type Checkpoint, openCheckpoint, readFloat32, readInt32, type TensorEntry } from '../../checkpoints/index.js';
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { keep } from '../../core/memory.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { parseJson } from '../checkpoint.js';

/** Values with their shape, as a dump holds them. */
export interface Values {
  readonly values: Float32Array | Int32Array;
  readonly shape: readonly number[];
}

export const nameOf = (dump: string | File): string => (typeof dump === 'string' ? dump : dump.name);

const isInteger = (entry: TensorEntry): boolean => /^(u?int|bool)/.test(entry.dtype);

/** One file of reference numbers: what went in, what came out, and the weights. */
export class Dump {
  readonly #inputs: Tensor[] = [];

  private constructor(
    readonly file: string,
    readonly backend: Backend,
    private readonly checkpoint: Checkpoint,
  ) {}

  /** Opens a dump: a path (Node) or a File (page). */
  static async open(from: string | File, backend: Backend): Promise<Dump> {
    const file = nameOf(from);
    const checkpoint = await openCheckpoint(from);
    if (checkpoint.format !== 'safetensors' || !checkpoint.metadata.task) {
      await checkpoint.close();
      throw new InputError(
        `${file} is not a parity dump: expected a .safetensors file with "task" in its metadata, as test/reference/dump.py writes.`,
      );
    }
    return new Dump(file, backend, checkpoint);
  }

  get task(): string {
    return this.checkpoint.metadata.task;
  }

  /** A setting of the case; `fallback` where it has none. */
  number(name: string, fallback: number): number {
    const text = this.checkpoint.metadata[name];
    if (text === undefined) return fallback;
    const value = Number(text);
    if (Number.isNaN(value) || text.trim() === '')
      throw new InputError(`${this.file}: expected ${name} in its metadata to be a number, got ${text}.`);
    return value;
  }

  /** A setting that is a JSON object. */
  json(name: string): Record<string, unknown> {
    const text = this.checkpoint.metadata[name];
    if (text === undefined) throw new InputError(`${this.file} has no ${name} in its metadata.`);
    const value = parseJson(text, `${name} in ${this.file}`);
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new InputError(
        `${this.file}: expected ${name} in its metadata to be a JSON object, got ${text.slice(0, 40)}.`,
      );
    return value as Record<string, unknown>;
  }

  has(name: string): boolean {
    return this.checkpoint.tensors.has(name);
  }

  /** Entries under a prefix, by the rest of their names. */
  group(prefix: string): Map<string, TensorEntry> {
    return new Map(
      [...this.checkpoint.tensors].flatMap(([name, entry]) =>
        name.startsWith(prefix) ? [[name.slice(prefix.length), entry] as const] : [],
      ),
    );
  }

  async values(name: string): Promise<Values> {
    const entry = this.checkpoint.tensors.get(name);
    if (!entry) throw new InputError(`${this.file} has no ${name}, which a dump of the task ${this.task} needs.`);
    return { values: isInteger(entry) ? await readInt32(entry) : await readFloat32(entry), shape: entry.shape };
  }

  /** An input as a tensor (integers as int32), freed with the dump. */
  async input(name: string, dtype?: 'bool' | 'float32'): Promise<Tensor> {
    const { values, shape } = await this.values(`input/${name}`);
    const t = keep(tensor(values, { shape, dtype, backend: this.backend }));
    this.#inputs.push(t);
    return t;
  }

  async optionalInput(name: string, dtype?: 'bool' | 'float32'): Promise<Tensor | null> {
    return this.has(`input/${name}`) ? this.input(name, dtype) : null;
  }

  async close(): Promise<void> {
    for (const t of this.#inputs) t.dispose();
    await this.checkpoint.close();
  }
}
