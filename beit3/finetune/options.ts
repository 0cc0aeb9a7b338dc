/** What a fine-tuning run is told, and the settings that follow from it. */
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { nearest } from '../../core/nearest.js';
import { type IndexTask, TASK_OF } from '../data/index/index.js';
import type { Initialisation } from '../model/initialisation.js';
import type { Writer } from '../training/checkpoints.js';
import { EXPORTS, type ExportFormat } from '../training/export.js';
import type { FinetuneEvent } from './events.js';
import { findRecipe, type Recipe } from './recipes.js';
import { checkSetting, DEFAULTS, SETTING_NAMES, type Settings } from './settings.js';

export const FINETUNE_TASKS = Object.keys(TASK_OF) as IndexTask[];

export interface FinetuneOptions extends Partial<Settings> {
  readonly task: IndexTask;
  /** The folder with the index files and the images. */
  readonly data: string;
  /** Where everything goes that the run makes. */
  readonly output: string;
  /** Weights to begin with; without them the run begins with fresh ones. */
  readonly checkpoint?: string;
  /** Official sizes and resolution, `beit3_base_patch16_224`; default: those of the checkpoint. */
  readonly model?: string;
  /** Sizes as parsed JSON, for models of other sizes. */
  readonly config?: unknown;
  /** Where `config` comes from, for messages. */
  readonly configName?: string;
  /** The .spm file; tasks without texts need none. */
  readonly tokenizer?: string;
  /** How fresh weights are drawn; default: `official`. */
  readonly initialisation?: Initialisation;
  /** Official hyper-parameters by name; settings given beside it win. */
  readonly recipe?: string;
  /** Ends the run after this step of all; the schedule stays that of the epochs. */
  readonly steps?: number;
  /** Saves every so many epochs; default 5. */
  readonly saveCkptFreq?: number;
  /** Saves every so many steps as well. */
  readonly saveSteps?: number;
  /** Training checkpoints to keep; default 2. */
  readonly keep?: number;
  /** false writes no training checkpoints: the run cannot be resumed. Default true. */
  readonly saveCkpt?: boolean;
  /** `auto` (default) continues from the newest readable checkpoint of the output folder if there is one. */
  readonly resume?: string;
  /** false leaves validation out. */
  readonly validate?: boolean;
  /** Where TensorBoard files go; null writes none. Default: `tensorboard` in the output folder. */
  readonly logDir?: string | null;
  /** Default `safetensors`. */
  readonly exportFormat?: ExportFormat;
  readonly backend?: Backend;
  /** When it fires, the run finishes its step, saves and ends. */
  readonly signal?: AbortSignal;
  readonly onEvent?: (event: FinetuneEvent) => void;
  /** Called as weights of the checkpoint arrive, with bytes. */
  readonly onLoading?: (done: number, total: number) => void;
  /** How training checkpoints are written; default: as safetensors files on the disk. */
  readonly writer?: Writer;
}

export interface Resolved {
  readonly settings: Settings;
  readonly recipe: Recipe | null;
  readonly initialisation: Initialisation;
  readonly model: string | null;
}

/** The settings that hold: those given, else the recipe's, else the reference's. Throws InputError. */
export function resolveOptions(options: FinetuneOptions): Resolved {
  const { task } = options;
  if (!FINETUNE_TASKS.includes(task)) {
    throw new InputError(
      `There is no task ${JSON.stringify(task)}; the nearest is ${nearest(String(task), FINETUNE_TASKS)} (of ${FINETUNE_TASKS.join(', ')}).`,
    );
  }
  for (const [name, least] of [
    ['steps', 1],
    ['saveCkptFreq', 1],
    ['saveSteps', 1],
    ['keep', 1],
  ] as const) {
    const value = options[name];
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= least)) {
      throw new InputError(`${name} must be a whole number from ${least}, got ${JSON.stringify(value)}.`);
    }
  }
  if (options.exportFormat !== undefined && !EXPORTS.includes(options.exportFormat)) {
    throw new InputError(
      `The export must be one of ${EXPORTS.join(', ')}, got ${JSON.stringify(options.exportFormat)}.`,
    );
  }
  const initialisation = options.initialisation ?? 'official';
  if (initialisation !== 'official' && initialisation !== 'magneto') {
    throw new InputError(`The initialisation must be official or magneto, got ${JSON.stringify(initialisation)}.`);
  }
  const recipe = options.recipe === undefined ? null : findRecipe(options.recipe, task);
  const given = Object.fromEntries(
    SETTING_NAMES.filter((name) => options[name] !== undefined).map((name) => [
      name,
      checkSetting(name, options[name]),
    ]),
  ) as Partial<Settings>;
  const settings: Settings = {
    ...DEFAULTS,
    ...recipe?.settings,
    ...given,
    ...(recipe ? batchOf(recipe, given) : {}),
  };
  if (settings.rank >= settings.worldSize) {
    throw new InputError(`--rank must be below --world-size ${settings.worldSize}, got ${settings.rank}.`);
  }
  if (recipe && options.checkpoint === undefined && options.config === undefined && options.model === undefined) {
    throw new InputError(
      `The recipe ${recipe.name} begins with ${recipe.checkpoint}; give it with --checkpoint (beit3 pull ${recipe.checkpoint} downloads it), or sizes with --model or --config to begin with fresh weights.`,
    );
  }
  const model = options.model ?? (options.config === undefined ? (recipe?.model ?? null) : null);
  return { settings, recipe, initialisation, model };
}

/** Batch and accumulation that give the samples in a step of a recipe; what was given stays. */
function batchOf(recipe: Recipe, given: Partial<Settings>): Pick<Settings, 'batchSize' | 'updateFreq'> {
  const { totalBatch } = recipe;
  const processes = given.worldSize ?? 1;
  const share = (by: number, flag: string): number => {
    const count = totalBatch / (by * processes);
    if (Number.isInteger(count)) return count;
    throw new InputError(
      `The recipe ${recipe.name} has ${totalBatch} samples in a step, which ${flag} ${by}${processes > 1 ? ` in ${processes} processes` : ''} does not divide; give a divisor, or both --batch-size and --update-freq.`,
    );
  };
  const { batchSize, updateFreq } = given;
  if (batchSize !== undefined && updateFreq !== undefined) return { batchSize, updateFreq };
  if (updateFreq !== undefined) return { batchSize: share(updateFreq, '--update-freq'), updateFreq };
  const own = batchSize ?? (recipe.settings.batchSize as number);
  return { batchSize: own, updateFreq: share(own, '--batch-size') };
}
