/** Every number of a fine-tuning run: what it means, what it may be, and what the reference takes without it. */
import { InputError } from '../../core/errors.js';

/** The settings of a run; names and defaults are those of the reference, in camel case. Flags are the same in kebab case. */
export interface Settings {
  readonly inputSize: number | null;
  readonly linearProbe: boolean;
  readonly probeLayer: number | null;
  readonly pooling: string | null;
  readonly dropPath: number;
  readonly checkpointActivations: boolean;
  readonly numMaxBpeTokens: number;
  readonly modelEma: boolean;
  readonly modelEmaDecay: number;
  readonly nbClasses: number | null;
  readonly epochs: number;
  readonly batchSize: number;
  readonly updateFreq: number;
  readonly evalBatchSize: number | null;
  readonly seed: number;
  readonly lr: number;
  readonly minLr: number;
  readonly warmupEpochs: number;
  readonly warmupSteps: number;
  readonly layerDecay: number;
  readonly taskHeadLrWeight: number;
  readonly weightDecay: number;
  readonly optBetas: readonly [number, number];
  readonly optEps: number;
  readonly clipGrad: number | null;
  readonly amp: boolean;
  readonly replay: boolean;
  readonly randaug: boolean;
  readonly trainInterpolation: string;
  readonly colorJitter: number;
  readonly aa: string;
  readonly reprob: number;
  readonly remode: string;
  readonly recount: number;
  readonly cropPct: number | null;
  readonly mixup: number;
  readonly cutmix: number;
  readonly cutmixMinmax: readonly [number, number] | null;
  readonly mixupProb: number;
  readonly mixupSwitchProb: number;
  readonly mixupMode: string;
  readonly labelSmoothing: number;
  readonly captioningMaskProb: number;
  readonly dropWorstRatio: number;
  readonly dropWorstAfter: number;
  readonly numBeams: number;
  readonly lengthPenalty: number;
  readonly workers: number | null;
  readonly skipBroken: boolean;
  readonly rank: number;
  readonly worldSize: number;
}

/** What a value may be. */
type Kind =
  | { readonly kind: 'number' | 'whole' | 'pair'; readonly least: number; readonly most: number }
  | { readonly kind: 'choice'; readonly of: readonly string[] }
  | { readonly kind: 'text' }
  | { readonly kind: 'switch' };

export type Setting<V> = Kind & {
  readonly group: SettingGroup;
  readonly help: string;
  readonly default: V;
  /** What null means, for the help. */
  readonly otherwise?: string;
  /** A run that is resumed may have another value: the weights do not depend on it. */
  readonly free?: boolean;
};

export const GROUPS = ['Model', 'Length', 'Optimisation', 'Pictures', 'Captions', 'Data'] as const;
export type SettingGroup = (typeof GROUPS)[number];

const number = (least: number, most: number) => ({ kind: 'number', least, most }) as const;
const whole = (least: number, most: number) => ({ kind: 'whole', least, most }) as const;
const pair = (least: number, most: number) => ({ kind: 'pair', least, most }) as const;
const choice = (...of: readonly string[]) => ({ kind: 'choice', of }) as const;
const text = { kind: 'text' } as const;
const isSwitch = { kind: 'switch' } as const;
const SHARE = number(0, 1);
/** Below 1. */
const PART = number(0, 1 - 1e-9);

export const SETTINGS: { readonly [K in keyof Settings]: Setting<Settings[K]> } = {
  inputSize: {
    ...whole(1, 8192),
    group: 'Model',
    help: 'Side of the pictures in pixels; position tables of the checkpoint are resized to it.',
    default: null,
    otherwise: "the model's",
  },
  linearProbe: {
    ...isSwitch,
    group: 'Model',
    help: 'imagenet: train the head alone, a linear classifier of the features as they are.',
    default: false,
  },
  probeLayer: {
    ...whole(1, 1000),
    group: 'Model',
    help: 'With --linear-probe, of a BEiT: classify [CLS] and the mean patch side by side as this layer puts them out.',
    default: null,
    otherwise: 'the last layer, pooled and normed',
  },
  pooling: {
    ...choice('mean', 'cls'),
    group: 'Model',
    help: 'What a BEiT classifies: the mean of the patches, or [CLS].',
    default: null,
    otherwise: "as the checkpoint's head, else mean",
  },
  dropPath: { ...PART, group: 'Model', help: 'Stochastic depth of the last layer.', default: 0.1 },
  checkpointActivations: {
    ...isSwitch,
    group: 'Model',
    help: 'Compute activations again in backward: less memory, more time, the same numbers.',
    default: false,
    free: true,
  },
  numMaxBpeTokens: {
    ...whole(3, 1 << 16),
    group: 'Model',
    help: 'Tokens of a text at most, with <s> and </s>.',
    default: 64,
  },
  modelEma: {
    ...isSwitch,
    group: 'Model',
    help: 'Average the weights over the steps as well; validation and the exported model take the averages.',
    default: false,
  },
  modelEmaDecay: { ...SHARE, group: 'Model', help: 'What an average keeps of itself in a step.', default: 0.9999 },
  nbClasses: {
    ...whole(2, 1 << 20),
    group: 'Model',
    help: 'Classes of imagenet.',
    default: null,
    otherwise: 'counted in the data',
  },
  epochs: { ...whole(1, 1e6), group: 'Length', help: 'Passes over the data.', default: 20 },
  batchSize: { ...whole(1, 1 << 20), group: 'Length', help: 'Samples computed at once.', default: 64 },
  updateFreq: {
    ...whole(1, 1 << 20),
    group: 'Length',
    help: 'Batches whose gradients are added up for one step.',
    default: 1,
  },
  evalBatchSize: {
    ...whole(1, 1 << 20),
    group: 'Length',
    help: 'Samples at once in validation.',
    default: null,
    otherwise: '1.5 times the batch',
    free: true,
  },
  seed: { ...whole(0, 2 ** 52), group: 'Length', help: 'Draws all chance of the run.', default: 0 },
  lr: { ...number(0, 1e3), group: 'Optimisation', help: 'Learning rate after warm-up.', default: 5e-4 },
  minLr: { ...number(0, 1e3), group: 'Optimisation', help: 'Learning rate that the cosine ends at.', default: 1e-6 },
  warmupEpochs: {
    ...number(0, 1e6),
    group: 'Optimisation',
    help: 'Epochs in which the learning rate rises from 0.',
    default: 5,
  },
  warmupSteps: {
    ...whole(-1, 1e9),
    group: 'Optimisation',
    help: 'Steps in which it rises; above 0 they win over epochs.',
    default: -1,
  },
  layerDecay: {
    ...number(1e-3, 1),
    group: 'Optimisation',
    help: 'Factor on the learning rate from each layer to the one below.',
    default: 0.9,
  },
  taskHeadLrWeight: {
    ...number(0, 1e6),
    group: 'Optimisation',
    help: 'Factor on the learning rate of the head, if above 1; only with --layer-decay 1.',
    default: 0,
  },
  weightDecay: { ...number(0, 1e3), group: 'Optimisation', help: 'AdamW weight decay of matrices.', default: 0.05 },
  optBetas: { ...pair(0, 1 - 1e-9), group: 'Optimisation', help: 'Betas of AdamW, as A,B.', default: [0.9, 0.999] },
  optEps: { ...number(0, 1), group: 'Optimisation', help: 'Epsilon of AdamW.', default: 1e-8 },
  clipGrad: {
    ...number(1e-12, 1e12),
    group: 'Optimisation',
    help: 'L2 norm that all gradients together are clipped to.',
    default: null,
    otherwise: 'not clipped',
  },
  amp: {
    ...isSwitch,
    group: 'Optimisation',
    help: 'Multiply matrices in float16, with float32 weights and a dynamic loss scale; refused where the device does not compute it.',
    default: false,
  },
  replay: {
    ...isSwitch,
    group: 'Optimisation',
    help: 'Record steps on the GPU and replay them for batches of the same shapes: less work for the processor and more memory, the same numbers.',
    default: false,
    free: true,
  },
  randaug: {
    ...isSwitch,
    group: 'Pictures',
    help: 'RandAugment(2, 7) for tasks of images and texts.',
    default: false,
  },
  trainInterpolation: {
    ...choice('bicubic', 'bilinear', 'random'),
    group: 'Pictures',
    help: 'How random crops are resized.',
    default: 'bicubic',
  },
  colorJitter: {
    ...number(0, 1),
    group: 'Pictures',
    help: 'imagenet, without --aa: strength of colour jitter.',
    default: 0.4,
  },
  aa: {
    ...text,
    group: 'Pictures',
    help: "imagenet: timm's RandAugment policy, or none.",
    default: 'rand-m9-mstd0.5-inc1',
  },
  reprob: { ...SHARE, group: 'Pictures', help: 'imagenet: probability of random erasing.', default: 0.25 },
  remode: {
    ...choice('pixel', 'rand', 'const'),
    group: 'Pictures',
    help: 'imagenet: what is put in place of what is erased.',
    default: 'pixel',
  },
  recount: { ...whole(1, 100), group: 'Pictures', help: 'imagenet: rectangles erased at most.', default: 1 },
  cropPct: {
    ...number(0.05, 1),
    group: 'Pictures',
    help: 'imagenet: part of the picture that validation sees.',
    default: null,
    otherwise: '1',
    free: true,
  },
  mixup: { ...number(0, 100), group: 'Pictures', help: 'imagenet: mixup alpha; 0 is off.', default: 0 },
  cutmix: { ...number(0, 100), group: 'Pictures', help: 'imagenet: cutmix alpha; 0 is off.', default: 0 },
  cutmixMinmax: {
    ...pair(0, 1),
    group: 'Pictures',
    help: 'imagenet: least and most side of the cut as A,B; turns cutmix on.',
    default: null,
    otherwise: 'by alpha',
  },
  mixupProb: {
    ...SHARE,
    group: 'Pictures',
    help: 'imagenet: probability of mixup or cutmix where one is on.',
    default: 1,
  },
  mixupSwitchProb: {
    ...SHARE,
    group: 'Pictures',
    help: 'imagenet: probability of cutmix where both are on.',
    default: 0.5,
  },
  mixupMode: {
    ...choice('batch', 'pair', 'elem'),
    group: 'Pictures',
    help: 'imagenet: whether a batch, a pair or a picture has a ratio of its own.',
    default: 'batch',
  },
  labelSmoothing: {
    ...PART,
    group: 'Pictures',
    help: 'imagenet and captions: part of the target that goes to the other classes or words.',
    default: 0.1,
  },
  captioningMaskProb: { ...SHARE, group: 'Captions', help: 'Part of the words that is masked.', default: 0.6 },
  dropWorstRatio: {
    ...PART,
    group: 'Captions',
    help: 'Part of the masked words, those of the highest loss, that does not count.',
    default: 0.2,
  },
  dropWorstAfter: {
    ...whole(0, 1e9),
    group: 'Captions',
    help: 'Step after which the worst words stop to count.',
    default: 12000,
  },
  numBeams: { ...whole(1, 64), group: 'Captions', help: 'Beams of validation.', default: 3, free: true },
  lengthPenalty: {
    ...number(-10, 10),
    group: 'Captions',
    help: 'Exponent of the length in the score of a caption.',
    default: 0.6,
    free: true,
  },
  workers: {
    ...whole(0, 256),
    group: 'Data',
    help: 'Threads that decode and augment pictures ahead of the step; 0: none.',
    default: null,
    otherwise: 'by the number of cores',
    free: true,
  },
  skipBroken: {
    ...isSwitch,
    group: 'Data',
    help: 'Leave out samples whose files are broken, and count them, instead of stopping.',
    default: false,
    free: true,
  },
  rank: {
    ...whole(0, 1 << 16),
    group: 'Data',
    help: 'Which share of the data to train on, from 0. Nothing is exchanged between processes.',
    default: 0,
  },
  worldSize: { ...whole(1, 1 << 16), group: 'Data', help: 'Shares that the data is cut into.', default: 1 },
};

export const SETTING_NAMES = Object.keys(SETTINGS) as (keyof Settings)[];

export const DEFAULTS = Object.fromEntries(
  SETTING_NAMES.map((name) => [name, SETTINGS[name].default]),
) as unknown as Settings;

/** drop-path for dropPath. */
export function flagOf(name: string): string {
  return name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
}

/** The value of a setting from the text behind its flag. Throws InputError. */
export function parseSetting(name: keyof Settings, given: string): unknown {
  const { kind } = SETTINGS[name];
  const toNumber = (part: string): number => (part.trim() === '' ? Number.NaN : Number(part));
  const value =
    kind === 'number' || kind === 'whole'
      ? toNumber(given)
      : kind === 'pair'
        ? given
            .trim()
            .split(/[\s,]+/)
            .map(toNumber)
        : given;
  return checkSetting(name, value, given);
}

/** The value, if the setting may have it. Throws InputError; `shown` is how the value was given. */
export function checkSetting(name: keyof Settings, value: unknown, shown: unknown = value): unknown {
  const setting: Setting<unknown> = SETTINGS[name];
  const refuse = (what: string): never => {
    throw new InputError(`--${flagOf(name)} must be ${what}, got ${JSON.stringify(shown) ?? String(shown)}.`);
  };
  if (value === null && setting.default === null) return value;
  switch (setting.kind) {
    case 'switch':
      return typeof value === 'boolean' ? value : refuse('true or false');
    case 'text':
      return typeof value === 'string' && value !== '' ? value : refuse('a text');
    case 'choice':
      return setting.of.includes(value as string) ? value : refuse(`one of ${setting.of.join(', ')}`);
    case 'number':
      return isWithin(value, setting) ? value : refuse(`a number ${range(setting)}`);
    case 'whole':
      return isWithin(value, setting) && Number.isInteger(value) ? value : refuse(`a whole number ${range(setting)}`);
    case 'pair': {
      const fits = Array.isArray(value) && value.length === 2 && value.every((n) => isWithin(n, setting));
      return fits ? value : refuse(`two numbers A,B ${range(setting)}`);
    }
  }
}

function isWithin(value: unknown, { least, most }: { least: number; most: number }): boolean {
  return typeof value === 'number' && value >= least && value <= most;
}

function range({ least, most }: { least: number; most: number }): string {
  // Just below 1 stands for below 1.
  return most < 1 && most > 0.999 ? `from ${least} to below 1` : `from ${least} to ${most}`;
}
