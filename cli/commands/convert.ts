import { holdsBeit } from '../../beit3/family.js';
import { trainedWeights } from '../../beit3/training/checkpoints.js';
import { beitSpecOf } from '../../beit3/vit/checkpoint.js';
import { describeBeit } from '../../beit3/vit/spec.js';
import {
  type Checkpoint,
  openCheckpoint,
  type Plain,
  readFloat32,
  type TensorEntry,
  type WritableTensor,
  writePth,
  writeSafetensors,
} from '../../checkpoints/index.js';
import { toBfloat, toHalf } from '../../core/dtype.js';
import { InputError } from '../../core/errors.js';
import type { Command } from '../command.js';
import { samePath } from '../files.js';
import { grouped, megabytes } from '../format.js';

const FLOATS = ['float32', 'float16', 'bfloat16'] as const;
type Float = (typeof FLOATS)[number];

export const command: Command = {
  usage: ['convert IN OUT [--dtype float32|float16|bfloat16]'],
  about:
    'Rewrites a checkpoint: OUT ends in .pth (which torch.load(weights_only=True) reads) or .safetensors. All tensors are kept, one is in memory at a time, and OUT appears whole or not at all. What else a .pth holds, such as the state of an optimizer, goes into a .pth only. Of a training checkpoint the weights are taken, so that a run that is still under way can be tried out.',
  flags: { dtype: { value: 'NAME', help: 'Type for tensors of floats; others stay.', default: 'as they are' } },
  examples: ['beit3 convert beit3_base_patch16_224_in1k.pth model.safetensors --dtype float16'],
  async run(args, context) {
    const [input, output] = args.expect(2, 2, 'the checkpoint to read and the file to write');
    const dtype = args.text('dtype');
    if (dtype !== undefined && !isFloatName(dtype))
      throw new InputError(`--dtype must be one of ${FLOATS.join(', ')}, got ${JSON.stringify(dtype)}.`);
    const toPth = /\.(pth|pt)$/i.test(output);
    if (!toPth && !/\.safetensors$/i.test(output)) {
      throw new InputError(`Cannot tell the format of ${output}: expected a name that ends in .safetensors or .pth.`);
    }
    if (await samePath(input, output))
      throw new InputError(`${input} and ${output} are the same file; give another name to write.`);
    const checkpoint = await openCheckpoint(input);
    const progress = context.progress('converting');
    try {
      const trained = trainedWeights(checkpoint, input);
      const told = trained ? {} : await toldByName(checkpoint, input);
      const entries = trained?.tensors ?? [...checkpoint.tensors.values()];
      const extra = trained ? {} : checkpoint.extra;
      const metadata = trained ? (trained.config === null ? {} : { config: trained.config }) : checkpoint.metadata;
      const total = entries.reduce((n, entry) => n + entry.byteLength, 0);
      let done = 0;
      const step = (bytes: number): void => progress.update((done += bytes), total);
      const tensors = entries.map((entry) =>
        dtype === undefined || !isFloating(entry) || entry.dtype === dtype
          ? watched(entry, step)
          : cast(entry, dtype, step),
      );
      const { config } = extra;
      const left: string[] = [];
      if (toPth) {
        await writePth(output, tensors, {
          extra: { ...told, ...extra, ...metadataOf(metadata, extra) },
        });
      } else {
        left.push(...Object.keys(extra).filter((key) => key !== 'config' || typeof config !== 'string'));
        await writeSafetensors(output, tensors, {
          format: 'pt',
          ...told,
          ...metadata,
          ...(typeof config === 'string' ? { config } : {}),
        });
      }
      progress.end();
      if (left.length > 0) context.note(`Left out, as a .safetensors file holds tensors only: ${left.join(', ')}.`);
      if (context.wantsJson)
        context.json({ input, output, tensors: entries.length, bytes: total, dtype: dtype ?? null, leftOut: left });
      else context.out(`${output}: ${grouped(entries.length)} tensors, read from ${megabytes(total)}`);
    } finally {
      progress.end();
      await checkpoint.close();
    }
  },
};

/** The config of a BEiT, whose name and arguments tell what its tensors do not: how its pictures are normalised. */
async function toldByName(checkpoint: Checkpoint, input: string): Promise<{ config?: string }> {
  if (!holdsBeit(checkpoint)) return {};
  try {
    return { config: JSON.stringify(describeBeit(await beitSpecOf(checkpoint, input))) };
  } catch (error) {
    if (error instanceof InputError) return {};
    throw error;
  }
}

function isFloatName(name: string): name is Float {
  return (FLOATS as readonly string[]).includes(name);
}

function isFloating({ dtype }: TensorEntry): boolean {
  return dtype === 'float64' || isFloatName(dtype);
}

/** Text beside the tensors of a safetensors file that a .pth can hold, the config above all. */
function metadataOf(
  metadata: Readonly<Record<string, string>>,
  extra: Readonly<Record<string, Plain>>,
): Record<string, Plain> {
  return Object.fromEntries(
    Object.entries(metadata).filter(([key]) => key !== 'format' && key !== 'model' && !Object.hasOwn(extra, key)),
  );
}

/** An entry that tells how much of it was read. */
function watched(entry: TensorEntry, step: (bytes: number) => void): WritableTensor {
  return {
    name: entry.name,
    dtype: entry.dtype,
    shape: entry.shape,
    byteLength: entry.byteLength,
    read: (into) => entry.read(into),
    stream: (write) =>
      entry.stream(async (bytes, at) => {
        await write(bytes, at);
        step(bytes.length);
      }),
  };
}

function cast(entry: TensorEntry, dtype: Float, step: (bytes: number) => void): WritableTensor {
  return {
    name: entry.name,
    dtype,
    shape: entry.shape,
    data: async () => {
      const values = await readFloat32(entry);
      step(entry.byteLength);
      if (dtype === 'float32') return values;
      return encode(values, dtype === 'float16' ? toHalf : toBfloat);
    },
  };
}

/** A plain loop: `Uint16Array.from` with a function takes twenty times as long. */
function encode(values: Float32Array, toBits: (value: number) => number): Uint16Array {
  const bits = new Uint16Array(values.length);
  for (let i = 0; i < values.length; i++) bits[i] = toBits(values[i]);
  return bits;
}
