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

/** From ImageNet-1k alone, at 1600 epochs of pretraining. */
const BEITV2: Family = {
  devices: { base: 8, large: 8 },
  both: { weightDecay: 0.05, mixup: 0.8, cutmix: 1 },
  base: { batchSize: 128, epochs: 100, warmupEpochs: 20, lr: 5e-4, layerDecay: 0.6, dropPath: 0.2 },
  large: { batchSize: 64, updateFreq: 2, epochs: 50, warmupEpochs: 5, lr: 2e-4, layerDecay: 0.8, dropPath: 0.2 },
};

/** After ImageNet-21k. */
const BEITV2_AFTER: Family = {
  devices: { base: 8, large: 8 },
  both: { weightDecay: 0.05 },
  base: { batchSize: 128, epochs: 30, warmupEpochs: 20, lr: 5e-5, layerDecay: 0.75, dropPath: 0.1 },
  large: { batchSize: 64, updateFreq: 2, epochs: 20, warmupEpochs: 5, lr: 7e-5, layerDecay: 0.8, dropPath: 0.25 },
};

const BEIT: Family = {
  devices: { base: 8, large: 8 },
  both: { weightDecay: 0.05, mixup: 0.8, cutmix: 1 },
  base: { batchSize: 128, epochs: 100, warmupEpochs: 20, lr: 4e-3, layerDecay: 0.65, dropPath: 0.1 },
  large: { batchSize: 64, updateFreq: 2, epochs: 50, warmupEpochs: 5, lr: 1e-3, layerDecay: 0.75, dropPath: 0.2 },
};

/** After ImageNet-22k. */
const BEIT_AFTER: Family = {
  devices: { base: 8, large: 8 },
  both: { epochs: 30, warmupEpochs: 5, lr: 2e-5, weightDecay: 1e-8 },
  base: { batchSize: 64, layerDecay: 0.85, dropPath: 0.1 },
  large: { batchSize: 32, updateFreq: 2, layerDecay: 0.9, dropPath: 0.4 },
};

/** A linear classifier on what stays as it is: crops and mirrors alone. */
const PROBE: Partial<Settings> = {
  linearProbe: true,
  epochs: 100,
  warmupEpochs: 0,
  lr: 4e-3,
  minLr: 0,
  weightDecay: 1e-4,
  layerDecay: 1,
  labelSmoothing: 0,
  mixup: 0,
  cutmix: 0,
  aa: 'none',
  colorJitter: 0,
  reprob: 0,
};

const PROBED =
  'The official probe trains a classifier on every layer and takes the best; this is that of one layer, the ninth of twelve unless --probe-layer says another.';
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
  ...(['base', 'large'] as const).flatMap((size): Row[] => {
    const from = `beitv2_${size}_patch16_224_pt1k`;
    const task = 'imagenet';
    const short = size === 'base' ? { layerDecay: 0.65, dropPath: 0.1 } : { lr: 5e-4 };
    return [
      { name: `${from}_ft1k`, task, family: BEITV2, checkpoint: `${from}.pth` },
      { name: `${from}_300e_ft1k`, task, family: BEITV2, checkpoint: `${from}_300e.pth`, settings: short },
      { name: `${from}_ft21kto1k`, task, family: BEITV2_AFTER, checkpoint: `${from}_ft21k.pth` },
    ];
  }),
  ...(['base', 'large'] as const).flatMap((size): Row[] => {
    const from = `beit_${size}_patch16_224_pt22k`;
    return [
      { name: `${from}_ft1k`, task: 'imagenet', family: BEIT, checkpoint: `${from}.pth` },
      { name: `${from}_ft22kto1k`, task: 'imagenet', family: BEIT_AFTER, checkpoint: `${from}_ft22k.pth` },
    ];
  }),
  {
    name: 'beit_base_patch16_224_pt22k_linear',
    task: 'imagenet',
    family: BEIT,
    checkpoint: 'beit_base_patch16_224_pt22k.pth',
    settings: { ...PROBE, probeLayer: 9 },
    note: PROBED,
  },
];

/** Every row of the model zoo, in its order. */
export const RECIPES: readonly Recipe[] = ROWS.map(({ name, task, family, checkpoint, settings, note }) => {
  const size = sizeIn(name);
  const resolution = /patch16_(\d+)/.exec(name)?.[1];
  const merged = { ...family.both, ...family[size], ...settings };
  return {
    name,
    task,
    model: `${name.slice(0, name.indexOf('_'))}_${size}_patch16_${resolution}`,
    checkpoint,
    totalBatch: (merged.batchSize as number) * (merged.updateFreq ?? 1) * family.devices[size],
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
