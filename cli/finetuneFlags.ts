/** The flags of `beit3 finetune`: one for each setting, and those for files and for the course of a run. */

import { parseJson } from '../beit3/checkpoint.js';
import type { IndexTask } from '../beit3/data/index/index.js';
import {
  EXPORTS,
  FINETUNE_TASKS,
  type FinetuneOptions,
  flagOf,
  GROUPS,
  parseSetting,
  SETTING_NAMES,
  SETTINGS,
  type Settings,
} from '../beit3/finetune/index.js';
import { readBytes } from '../beit3/readBytes.js';
import { InputError } from '../core/errors.js';
import { nearest } from '../core/nearest.js';
import type { Args } from './args.js';
import { type Flag, type Flags, inGroup } from './command.js';

/** Switches that a recipe may have turned on. */
const NEGATED = ['randaug', 'checkpointActivations'] as const;
const MAX_CONFIG_BYTES = 1 << 20;

const FILES: Flags = {
  data: { value: 'DIR', help: 'The folder with the images and the index files of beit3 index. Required.' },
  output: { value: 'DIR', help: 'Where everything goes that the run makes. Required.' },
  checkpoint: {
    value: 'FILE',
    help: 'Weights to begin with, .pth or .safetensors: a path, or the name of official ones that beit3 pull has put into its folder.',
    default: "the recipe's, if pulled; else fresh weights",
  },
  model: {
    value: 'NAME',
    help: 'Official sizes and resolution, such as beit3_base_patch16_480 or, for imagenet, beitv2_base_patch16_224.',
    default: "the checkpoint's",
  },
  config: { value: 'FILE', help: 'JSON with the sizes of a model of your own.' },
  tokenizer: { value: 'FILE', help: 'The .spm file of the model.', default: 'the one beside the checkpoint' },
  initialisation: {
    value: 'NAME',
    help: 'How fresh weights are drawn: official, or magneto, which learns at small sizes too.',
    default: 'official',
  },
  recipe: {
    value: 'NAME',
    help: 'Official hyper-parameters, named as the fine-tuned checkpoint; flags win over them. list prints all.',
  },
};

const COURSE: Flags = {
  steps: { value: 'N', help: 'End after this step; the schedule stays that of the epochs.', default: 'all epochs' },
  resume: {
    value: 'auto|FILE|none',
    help: 'The training checkpoint to go on from: the newest readable one in --output, a file, or none.',
    default: 'auto',
  },
  'save-ckpt-freq': { value: 'N', help: 'Save a training checkpoint every N epochs.', default: '5' },
  'save-steps': { value: 'N', help: 'Save one every N steps as well.' },
  keep: { value: 'N', help: 'Training checkpoints to keep.', default: '2' },
  'no-save-ckpt': { help: 'Save none: the run cannot be resumed.' },
  'no-eval': { help: 'Leave out validation at the end of each epoch.' },
  export: { value: EXPORTS.join('|'), help: 'How trained weights are written.', default: 'safetensors' },
  'log-dir': { value: 'DIR|none', help: 'Where TensorBoard files go.', default: 'tensorboard in --output' },
  'print-freq': { value: 'N', help: 'Without a terminal: print a line every N steps.', default: '10' },
};

function settingFlags(): Flags {
  return Object.fromEntries(
    GROUPS.flatMap((group) =>
      SETTING_NAMES.filter((name) => SETTINGS[name].group === group).flatMap((name): [string, Flag][] => {
        const { kind, help, default: value, otherwise } = SETTINGS[name];
        const flag = flagOf(name);
        if (kind !== 'switch') {
          const shown = { number: 'X', whole: 'N', pair: 'A,B', text: 'NAME', choice: 'NAME' }[kind];
          return [[flag, { value: shown, help, group, default: value === null ? otherwise : String(value) }]];
        }
        const isNegated = NEGATED.some((other) => other === name);
        const off: Flag = { help: `Not --${flag}, whatever the recipe says.`, group };
        return isNegated
          ? [
              [flag, { help, group }],
              [`no-${flag}`, off],
            ]
          : [[flag, { help, group }]];
      }),
    ),
  );
}

export const FINETUNE_FLAGS: Flags = { ...inGroup('Files', FILES), ...inGroup('Course', COURSE), ...settingFlags() };

/** The settings that were given. Throws InputError. */
function settingsOf(args: Args): Partial<Settings> {
  const given: [string, unknown][] = [];
  for (const name of SETTING_NAMES) {
    const flag = flagOf(name);
    const isOff = NEGATED.some((other) => other === name) && args.has(`no-${flag}`);
    if (isOff && args.has(flag)) throw new InputError(`--${flag} and --no-${flag} contradict each other; give one.`);
    if (isOff) given.push([name, false]);
    else if (SETTINGS[name].kind === 'switch')
      given.push(...(args.has(flag) ? [[name, true] as [string, unknown]] : []));
    else if (args.has(flag)) given.push([name, parseSetting(name, args.text(flag) as string)]);
  }
  return Object.fromEntries(given) as Partial<Settings>;
}

export function taskOf(name: string): IndexTask {
  const task = FINETUNE_TASKS.find((known) => known === name);
  if (task) return task;
  throw new InputError(
    `There is no task ${JSON.stringify(name.slice(0, 60))}; the nearest is ${nearest(name, FINETUNE_TASKS)} (of ${FINETUNE_TASKS.join(', ')}).`,
  );
}

/** What the flags say; nothing is opened but the config. Throws InputError. */
export async function finetuneOptions(task: IndexTask, args: Args): Promise<FinetuneOptions> {
  const config = args.text('config');
  const logDir = args.text('log-dir');
  const most = Number.MAX_SAFE_INTEGER;
  return {
    ...settingsOf(args),
    task,
    data: args.required('data', 'the folder with the images and the index files'),
    output: args.required('output', 'the folder for what the run makes'),
    checkpoint: args.text('checkpoint'),
    model: args.text('model'),
    ...(config === undefined ? {} : { config: await readConfig(config), configName: config }),
    tokenizer: args.text('tokenizer'),
    initialisation: args.choice('initialisation', ['official', 'magneto'] as const),
    recipe: args.text('recipe'),
    steps: args.whole('steps', 1, most),
    resume: args.text('resume'),
    saveCkptFreq: args.whole('save-ckpt-freq', 1, most),
    saveSteps: args.whole('save-steps', 1, most),
    keep: args.whole('keep', 1, most),
    saveCkpt: !args.has('no-save-ckpt'),
    validate: !args.has('no-eval'),
    exportFormat: args.choice('export', EXPORTS),
    logDir: logDir === 'none' ? null : logDir,
  };
}

async function readConfig(path: string): Promise<unknown> {
  const bytes = await readBytes(path, { what: 'the config', maxBytes: MAX_CONFIG_BYTES });
  return parseJson(new TextDecoder().decode(bytes), path);
}
