/** BEiT and BEiT v2 for `beit3 inspect`. */
import { beitSpecOf, fittedEntries } from '../beit3/vit/checkpoint.js';
import { MaskedImageModel } from '../beit3/vit/maskedImageModel.js';
import { type BeitSpec, describeBeit } from '../beit3/vit/spec.js';
import { VisionTransformer } from '../beit3/vit/visionTransformer.js';
import type { Checkpoint } from '../checkpoints/index.js';
import { InputError, messageOf } from '../core/errors.js';
import { Builder, metaBackend } from '../nn/builder.js';
import { compareStates, type Module } from '../nn/module.js';
import { byDType, countParameters, type Inspection, type TensorShape } from './inspection.js';

/** The tensors of a model, from one that is built without memory. */
function tensorsOf({ config, classes, pooling, pretraining }: BeitSpec): TensorShape[] {
  const b = new Builder({ backend: metaBackend(), initialize: false });
  const model: Module = pretraining
    ? new MaskedImageModel(b, config, pretraining)
    : new VisionTransformer(b, config, { classes, pooling });
  return Array.from(model.namedTensors(), ([name, { dtype, shape }]) => ({ name, dtype, shape }));
}

function branchOf(name: string): string {
  if (name.includes('relative_position_bias_table')) return 'relative positions';
  if (name.startsWith('blocks.')) return 'layers';
  return /^(cls_token$|mask_token$|pos_embed$|patch_embed\.)/.test(name) ? 'embeddings' : 'head';
}

function described(spec: BeitSpec): Pick<Inspection, 'family' | 'task' | 'numClasses' | 'config'> {
  const { pretraining, classes } = spec;
  return {
    // Only its pretraining tells BEiT v2 from BEiT.
    family: pretraining?.aggregation ? 'BEiT v2' : 'BEiT or BEiT v2',
    task: pretraining ? 'masked image modelling' : classes > 0 ? 'imageclassification' : null,
    ...(pretraining ? {} : { numClasses: classes }),
    config: describeBeit(spec),
  };
}

export function inspectBeit(spec: BeitSpec): Inspection {
  const tensors = tensorsOf(spec);
  const all = new Set(tensors.map(({ name }) => name));
  return { ...described(spec), parameters: countParameters(tensors, all, branchOf), dtypes: byDType(tensors), tensors };
}

/** What an open checkpoint holds, of which only the directory is read. */
export async function inspectBeitFile(
  checkpoint: Checkpoint,
  path: string,
  config: { readonly config?: unknown; readonly configName?: string },
): Promise<Pick<Inspection, 'family' | 'task' | 'numClasses' | 'config' | 'parameters' | 'unused' | 'problem'>> {
  let spec: BeitSpec;
  try {
    spec = await beitSpecOf(checkpoint, path, config);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return { family: null, task: null, config: null, parameters: null, problem: messageOf(error) };
  }
  const wanted = new Map(tensorsOf(spec).map((tensor) => [tensor.name, tensor]));
  // Less the tables of numbers that follow from the grid.
  const { entries } = fittedEntries(checkpoint.tensors, spec.config);
  const given = [...entries.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  const used = new Map([...entries].filter(([name]) => wanted.has(name)));
  const problem = compareStates(wanted, used) ?? undefined;
  return {
    ...described(spec),
    parameters: countParameters(given, new Set(wanted.keys()), branchOf),
    unused: given.map(({ name }) => name).filter((name) => !wanted.has(name)),
    problem: problem && `it does not fit the model that it seems to be: ${problem}`,
  };
}
