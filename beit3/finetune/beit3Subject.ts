/** BEiT-3 as what a run trains. */
import type { Builder } from '../../nn/builder.js';
import { describeSpec } from '../checkpoint.js';
import type { ModelSpec, Task } from '../config.js';
import { createModel } from '../heads/index.js';
import { layerDecayGroups } from '../layerDecay.js';
import type { Initialisation } from '../model/initialisation.js';
import { unusedWeights } from './export.js';
import { startModel, startNotes } from './start.js';
import { type Subject, type TrainedModel, trainedGroups } from './subject.js';

/** The subject of a spec. */
export function beit3Subject<T extends Task>(
  spec: ModelSpec & { readonly task: T },
  initialisation: Initialisation,
): Subject<T> {
  const { task, config, numClasses } = spec;
  return {
    task,
    numClasses,
    imageSize: config.img_size,
    preprocessing: { pipeline: task === 'imageclassification' ? 'imagenet' : 'vl' },
    description: describeSpec(spec),
    make: (b: Builder) => createModel(b, spec, { initialisation }) as TrainedModel<T>,
    start: async (source, options) => {
      const { model, ...found } = await startModel(spec, source, { initialisation, ...options });
      return { model, notes: source ? startNotes(found, source.path) : [] };
    },
    groups: (model, settings) => {
      const { layerDecay, taskHeadLrWeight: headLrWeight, weightDecay } = settings;
      const layers = config.encoder_layers;
      return trainedGroups(layerDecayGroups(model, { layers, layerDecay, headLrWeight, weightDecay }), settings);
    },
    unused: (entries, seed) => unusedWeights(spec, entries, initialisation, seed),
  };
}
