/** What training begins with, of any family: weights of a checkpoint as far as they go, fresh ones for the rest. */
import type { Checkpoint, TensorEntry } from '../../checkpoints/index.js';
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { Generator } from '../../core/random.js';
import type { Tensor } from '../../core/tensor.js';
import { Builder, metaBackend } from '../../nn/builder.js';
import { compareStates, type Module } from '../../nn/module.js';
import { fillTensor } from '../checkpoint.js';

/** An open checkpoint and its name. */
export interface Source {
  readonly path: string;
  readonly checkpoint: Checkpoint;
}

export interface Started<M extends Module> {
  readonly model: M;
  /** Weights that the checkpoint does not have, or a head that it has of another shape. */
  readonly fresh: readonly string[];
  /** Names in the checkpoint that the model does not use. */
  readonly unused: readonly string[];
}

/** What a model begins with. */
export interface Beginning {
  /** Name of the checkpoint, for messages. */
  readonly source: string;
  /** Its entries as the model takes them. */
  readonly entries: ReadonlyMap<string, TensorEntry>;
  /** Weight of the head, which is drawn anew where the checkpoint's is for other classes or features; null for a model without. */
  readonly head: string | null;
  readonly backend: Backend;
  readonly seed: number;
  readonly onProgress?: (done: number, total: number) => void;
}

/** The tensors that a module will have. */
export function wantedTensors(make: (b: Builder) => Module): ReadonlyMap<string, Tensor> {
  return make(new Builder({ backend: metaBackend(), initialize: false })).stateDict();
}

/** Makes a module and fills it. Throws InputError that lists all tensors of another shape. */
export async function startFrom<M extends Module>(
  make: (b: Builder) => M,
  { source, entries, head, backend, seed, onProgress }: Beginning,
): Promise<Started<M>> {
  const wanted = wantedTensors(make);
  const used = usedEntries(wanted, entries, head, source);
  const fresh = [...wanted.keys()].filter((name) => !used.has(name));
  // A layer of which a part is missing is drawn whole; what is there is written over it.
  const paths = new Set(fresh.flatMap((name) => [name, name.replace(/\.[^.]*$/, '')]));
  const model = make(new Builder({ backend, generator: new Generator(seed), initialize: (path) => paths.has(path) }));
  try {
    const total = [...used.values()].reduce((n, entry) => n + entry.byteLength, 0);
    let done = 0;
    const own = model.stateDict();
    for (const [name, entry] of used) {
      await fillTensor(own.get(name) as Tensor, entry);
      onProgress?.((done += entry.byteLength), total);
    }
    return { model, fresh, unused: [...entries.keys()].filter((name) => !wanted.has(name)) };
  } catch (error) {
    model.dispose();
    throw error;
  }
}

/** The entries that fill the model. */
function usedEntries(
  wanted: ReadonlyMap<string, Tensor>,
  entries: ReadonlyMap<string, TensorEntry>,
  head: Beginning['head'],
  source: string,
): Map<string, TensorEntry> {
  const used = new Map([...entries].filter(([name]) => wanted.has(name)));
  // A head for other classes is none for these, as the reference has it.
  if (head !== null && used.get(head)?.shape.join() !== wanted.get(head)?.shape.join()) {
    used.delete(head);
    used.delete(head.replace(/weight$/, 'bias'));
  }
  const problem = compareStates(wanted, used, false);
  if (problem) throw new InputError(`${source} does not fit the model: ${problem}.`);
  for (const { name, dtype } of used.values()) {
    if (/^(float(16|32|64)|bfloat16)$/.test(dtype)) continue;
    throw new InputError(
      `${source} stores ${name} as ${dtype}; expected floats of 16 bits or more; save it as float32.`,
    );
  }
  return used;
}

/** What a user should know of how a checkpoint fits. */
export function fitNotes({ fresh, unused }: Omit<Started<Module>, 'model'>, path: string): string[] {
  return [
    ...(fresh.length > 0 ? [`New, not in ${path}: ${listed(fresh)}.`] : []),
    ...(unused.length > 0 ? [`Not used of ${path}: ${listed(unused)}.`] : []),
  ];
}

/** All names, those of all layers as one. */
function listed(names: readonly string[]): string {
  return [...new Set(names.map((name) => name.replace(/(^|[._])(layers|blocks)\.\d+\./, '$1$2.*.')))].join(', ');
}
