/** The ViT of BEiT and BEiT v2 as what a run trains: a classifier of pictures. */
import { InputError } from '../../core/errors.js';
import type { Builder } from '../../nn/builder.js';
import { holdsBeit } from '../family.js';
import { layerDecayGroups } from '../layerDecay.js';
import { fitNotes, startFrom } from '../training/start.js';
import { beitSpecOf, fittedEntries, indexTables } from '../vit/checkpoint.js';
import { parseViTConfig } from '../vit/config.js';
import { beitModel, isBeitName } from '../vit/models.js';
import { VIT_NAMING } from '../vit/naming.js';
import { type BeitSpec, beitPreprocessing, describeBeit, freshBeit } from '../vit/spec.js';
import { type Pooling, VisionTransformer } from '../vit/visionTransformer.js';
import type { Settings } from './settings.js';
import type { SizesOptions } from './start.js';
import { type Subject, trainedGroups } from './subject.js';

/** Whether what a run begins with is a BEiT: its checkpoint, else the name or the config that was given. */
export function meansBeit({ source, model, config }: Pick<SizesOptions, 'source' | 'model' | 'config'>): boolean {
  if (source) return holdsBeit(source.checkpoint);
  if (model !== null) return isBeitName(model);
  return typeof config === 'object' && config !== null && 'embed_dim' in config;
}

/**
 * What a run trains, less its classes. Relative positions that all layers shared in pretraining become one table in each, as
 * in the official code. Throws InputError where sizes are not told or contradict the checkpoint.
 */
export async function beitTrainingSpec(
  { task, source, model, config, configName }: Omit<SizesOptions, 'settings'>,
  settings: Settings,
): Promise<BeitSpec> {
  if (task !== 'imageclassification')
    throw new InputError('BEiT and BEiT v2 classify pictures; the only task of theirs is imagenet.');
  const told = source
    ? await beitSpecOf(source.checkpoint, source.path, { config, configName })
    : model === null
      ? freshBeit(config, configName ?? 'The config')
      : beitModel(model);
  const sizes = source && model !== null ? beitModel(model).config : told.config;
  const { probeLayer } = settings;
  if (probeLayer !== null && probeLayer > sizes.depth)
    throw new InputError(`This model has ${sizes.depth} layers; --probe-layer is ${probeLayer}.`);
  const hasTables = sizes.use_rel_pos_bias || sizes.use_shared_rel_pos_bias;
  return {
    ...told,
    config: parseViTConfig(
      {
        ...(settings.inputSize === null ? {} : { img_size: settings.inputSize }),
        use_rel_pos_bias: hasTables,
        use_shared_rel_pos_bias: false,
        drop_path_rate: settings.linearProbe ? 0 : settings.dropPath,
        // What lies behind the layer that is probed takes no part.
        depth: probeLayer ?? sizes.depth,
        checkpoint_activations: settings.checkpointActivations,
      },
      'The model',
      sizes,
    ),
    pooling: poolingOf(told, settings),
    pretraining: null,
  };
}

/** As it is asked for, else the checkpoint's; the norm of a pretrained model is none of a classifier. */
function poolingOf({ pretraining, pooling }: BeitSpec, settings: Settings): Pooling {
  if (settings.probeLayer !== null) return 'both';
  if (settings.pooling !== null) return settings.pooling === 'cls' ? 'cls' : 'mean';
  return pretraining === null ? pooling : 'mean';
}

/** The subject of a spec. */
export function beitSubject(spec: BeitSpec): Subject<'imageclassification'> {
  const { config, classes, pooling } = spec;
  const make = (b: Builder) => new VisionTransformer(b, config, { classes, pooling });
  return {
    task: 'imageclassification',
    numClasses: classes,
    imageSize: config.img_size,
    preprocessing: beitPreprocessing(spec),
    description: describeBeit(spec),
    make,
    start: async (source, options) => {
      const { entries, notes } = fittedEntries(source?.checkpoint.tensors ?? new Map(), config);
      const head = 'head.weight';
      const path = source?.path ?? '';
      const { model, ...found } = await startFrom(make, { source: path, entries, head, ...options });
      return { model, notes: source ? [...fitNotes(found, path), ...notes] : [] };
    },
    groups: (model, settings) => {
      const { layerDecay, weightDecay } = settings;
      const groups = layerDecayGroups(model, { layers: config.depth, layerDecay, weightDecay, naming: VIT_NAMING });
      return trainedGroups(groups, settings);
    },
    unused: () => indexTables(config),
  };
}
