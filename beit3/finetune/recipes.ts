/** The official hyper-parameters of every fine-tuned model that was published, named as its file. */
import { InputError } from '../../core/errors.js';
import { nearest } from '../../core/nearest.js';
import type { IndexTask } from '../data/index/index.js';
import type { Settings } from './settings.js';

export interface Recipe {
  readonly name: string;
  readonly task: IndexTask;
  /** Sizes and resolution, as in the official registry, without the task. */
  readonly model: string;
  /** The official weights that it begins with. */
  readonly checkpoint: string;
  /** Samples in a step, over all devices. */
  readonly totalBatch: number;
  readonly settings: Partial<Settings>;
  /** What a reader should know. */
  readonly note?: string;
}

type Size = 'base' | 'large';

/** Of both sizes, then of each. `batchSize` is that of one device; `devices` had one such batch each. */
interface Family {
  readonly devices: Readonly<Record<Size, number>>;
  readonly both: Partial<Settings>;
  readonly base: Partial<Settings>;
  readonly large: Partial<Settings>;
}

const RECOMPUTE = { checkpointActivations: true };

const IMAGENET: Family = {
  devices: { base: 8, large: 8 },
  both: { batchSize: 128, epochs: 50, warmupEpochs: 5, weightDecay: 0.05, mixup: 0.8, cutmix: 1, seed: 42 },
  base: { layerDecay: 0.65, lr: 7e-4, dropPath: 0.15 },
  large: { layerDecay: 0.8, lr: 2e-4, dropPath: 0.25, ...RECOMPUTE },
};

const VQA: Family = {
  devices: { base: 8, large: 8 },
  both: {
    batchSize: 16,
    epochs: 10,
    warmupEpochs: 1,
    weightDecay: 0.01,
    layerDecay: 1,
    taskHeadLrWeight: 20,
    optBetas: [0.9, 0.98],
    randaug: true,
    seed: 42,
  },
  base: { lr: 3e-5, dropPath: 0.1 },
  large: { lr: 2e-5, dropPath: 0.15, ...RECOMPUTE },
};

const NLVR2: Family = {
  devices: { base: 8, large: 8 },
  both: { batchSize: 32, epochs: 20, warmupEpochs: 5, weightDecay: 0.2, dropPath: 0.2, seed: 42 },
  base: { layerDecay: 0.65, lr: 7e-4 },
  large: { layerDecay: 0.85, lr: 3e-4, ...RECOMPUTE },
};

const CAPTIONING: Family = {
  devices: { base: 8, large: 8 },
  both: {
    batchSize: 32,
    epochs: 10,
    warmupEpochs: 1,
    weightDecay: 0.05,
    dropPath: 0.1,
    layerDecay: 1,
    randaug: true,
    numMaxBpeTokens: 32,
    captioningMaskProb: 0.7,
    dropWorstAfter: 12000,
    seed: 42,
    ...RECOMPUTE,
  },
  base: { lr: 4e-5 },
  large: { lr: 8e-6 },
};

const RETRIEVAL: Family = {
  devices: { base: 16, large: 32 },
  both: { epochs: 15, warmupEpochs: 3, weightDecay: 0.05, dropPath: 0.2, seed: 42, ...RECOMPUTE },
  base: { batchSize: 192, layerDecay: 0.65, lr: 2e-4 },
  large: { batchSize: 96, layerDecay: 0.85, lr: 5e-5 },
};

const NEGATIVES =
  'The official runs gathered the features of all devices: every pair was told from 3071 others. Batches that are added up tell a pair only from the rest of its own batch, so take as large a --batch-size as fits.';
const AUGMENTED =
  'The official data was augmented with questions of Visual Genome, which the index does not hold; settings for 768 pixels were not published and are those for 480.';

/** A row: the name of its file, and where it departs from the family. */
interface Row {
  readonly name: string;
  readonly task: IndexTask;
  readonly family: Family;
  readonly checkpoint: string;
  readonly settings?: Partial<Settings>;
  readonly note?: string;
}

/** One row each for the plain and the in-domain checkpoint. */
function both(
  name: (kind: string) => string,
  row: Omit<Row, 'name' | 'checkpoint'>,
  indomain?: Partial<Settings>,
): Row[] {
  return ['', '_indomain'].map((kind) => {
    const full = name(kind);
    const settings = { ...row.settings, ...(kind === '' ? {} : indomain) };
    return { ...row, name: full, checkpoint: `beit3_${sizeIn(full)}${kind}_patch16_224.pth`, settings };
  });
}

function sizeIn(name: string): Size {
  return name.includes('_large') ? 'large' : 'base';
}

const ITC = (size: Size): string => `beit3_${size}_itc_patch16_224.pth`;
const NOCAPS = { lr: 1e-5 };
const FLICKR = { epochs: 20, warmupEpochs: 5 };

const ROWS: readonly Row[] = [
  ...both((kind) => `beit3_base${kind}_patch16_224_in1k`, { task: 'imagenet', family: IMAGENET }),
  ...both((kind) => `beit3_large${kind}_patch16_224_in1k`, { task: 'imagenet', family: IMAGENET }),
  ...both((kind) => `beit3_base${kind}_patch16_480_vqa`, { task: 'vqav2', family: VQA }),
  ...both((kind) => `beit3_large${kind}_patch16_480_vqa`, { task: 'vqav2', family: VQA }),
  {
    name: 'beit3_large_indomain_patch16_768_vgqaaug_vqa',
    task: 'vqav2',
    family: VQA,
    checkpoint: 'beit3_large_indomain_patch16_224.pth',
    note: AUGMENTED,
  },
  ...both((kind) => `beit3_base${kind}_patch16_224_nlvr2`, { task: 'nlvr2', family: NLVR2 }, { lr: 5e-4 }),
  ...both((kind) => `beit3_large${kind}_patch16_224_nlvr2`, { task: 'nlvr2', family: NLVR2 }, { lr: 1e-4 }),
  ...both((kind) => `beit3_base${kind}_patch16_480_coco_captioning`, { task: 'coco_captioning', family: CAPTIONING }),
  {
    name: 'beit3_large_patch16_480_coco_captioning',
    task: 'coco_captioning',
    family: CAPTIONING,
    checkpoint: 'beit3_large_patch16_224.pth',
  },
  ...both((kind) => `beit3_base${kind}_patch16_480_nocaps`, { task: 'nocaps', family: CAPTIONING, settings: NOCAPS }),
  {
    name: 'beit3_large_patch16_480_nocaps',
    task: 'nocaps',
    family: CAPTIONING,
    checkpoint: 'beit3_large_patch16_224.pth',
  },
  ...(['base', 'large'] as const).map(
    (size): Row => ({
      name: `beit3_${size}_patch16_384_coco_retrieval`,
      task: 'coco_retrieval',
      family: RETRIEVAL,
      checkpoint: ITC(size),
      note: NEGATIVES,
    }),
  ),
  ...(['base', 'large'] as const).map(
    (size): Row => ({
      name: `beit3_${size}_patch16_384_f30k_retrieval`,
      task: 'flickr30k',
      family: RETRIEVAL,
      checkpoint: ITC(size),
      settings: size === 'base' ? { ...FLICKR, lr: 1e-4 } : FLICKR,
      note: NEGATIVES,
    }),
  ),
];

/** Every row of the model zoo, in its order. */
export const RECIPES: readonly Recipe[] = ROWS.map(({ name, task, family, checkpoint, settings, note }) => {
  const size = sizeIn(name);
  const resolution = /patch16_(\d+)/.exec(name)?.[1];
  const merged = { ...family.both, ...family[size], ...settings };
  return {
    name,
    task,
    model: `beit3_${size}_patch16_${resolution}`,
    checkpoint,
    totalBatch: (merged.batchSize as number) * family.devices[size],
    settings: merged,
    ...(note === undefined ? {} : { note }),
  };
});

/** The recipe of a name (the ending `.pth` may be there), for a task. Throws InputError that suggests the nearest. */
export function findRecipe(name: string, task: IndexTask): Recipe {
  const found = RECIPES.find((recipe) => recipe.name === name.replace(/\.pth$/, ''));
  const ofTask = RECIPES.filter((recipe) => recipe.task === task).map((recipe) => recipe.name);
  if (!found) {
    throw new InputError(
      `There is no recipe ${JSON.stringify(name.slice(0, 100))}; the nearest for ${task} is ${nearest(name.slice(0, 100), ofTask)}; --recipe list prints all.`,
    );
  }
  if (found.task === task) return found;
  throw new InputError(`The recipe ${found.name} is for ${found.task}, not for ${task}; it has ${ofTask.join(', ')}.`);
}
