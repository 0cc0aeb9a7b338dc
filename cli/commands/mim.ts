import { mim } from '../../beit3/mim/mim.js';
import { BEITV2, findMimRecipe, MIM_RECIPES, type MimSettings } from '../../beit3/mim/settings.js';
import { InputError } from '../../core/errors.js';
import type { Args } from '../args.js';
import type { Command, Context } from '../command.js';
import { checkpointFile } from '../files.js';
import { grouped, table } from '../format.js';
import { PRETRAINING_NUMBERS, sizesGiven } from '../pretrainingFlags.js';
import { course, RUN_FLAGS, report, required, runOptions } from '../runFlags.js';
import { givenList, givenNumbers, type NumberTable, settingFlags } from '../settingFlags.js';

const NUMBERS: NumberTable<MimSettings> = {
  ...PRETRAINING_NUMBERS,
  'early-layers': ['N', 'earlyLayers', 0, 1024, 'Layers behind which the patches wait for [CLS]; 0 is BEiT.'],
  'head-layers': ['N', 'headLayers', 0, 64, 'Layers that predict from them and the final [CLS].'],
  'layer-scale': ['X', 'layerScale', 0, 100, 'What layer scale begins with; 0 for none.'],
};

/** Switches, and the settings that they set. */
const SWITCHES: Readonly<Record<string, readonly [help: string, setting: Partial<MimSettings>]>> = {
  'no-shared-head': ['Give the prediction by way of [CLS] a norm and head of its own.', { sharedHead: false }],
  'abs-pos-emb': ['Add learnt positions to the patches.', { absPosEmb: true }],
  'no-rel-pos-bias': ['Have no table of relative positions.', { relPosBias: false }],
  'checkpoint-activations': ['Recompute activations instead of keeping them.', { checkpointActivations: true }],
};

const SETTING_FLAGS = settingFlags(
  NUMBERS,
  { ...BEITV2, imageMask: 0.383 },
  {
    ...Object.fromEntries(Object.entries(SWITCHES).map(([name, [help]]) => [name, { help }])),
    'opt-betas': { value: 'A,B', help: 'Betas of AdamW.', default: BEITV2.optBetas.join() },
    normalization: {
      value: 'NAME',
      help: "Mean and deviation of the model's pictures: imagenet, or inception (0.5).",
      default: "the checkpoint's, else imagenet",
    },
  },
);

export const command: Command = {
  usage: [
    'mim --images PATH --image-tokenizer FILE --output DIR [--recipe NAME]',
    'mim --images PATH --image-tokenizer FILE --output DIR --early-layers 0',
    'mim --recipe list',
  ],
  about:
    'Pretrains a BEiT or BEiT v2 by masked image modelling: the codes of hidden patches are predicted, for BEiT v2 a second time by way of [CLS]. PATH is a folder of image files or .tar shards, by path, pattern or address. The output folder gets training checkpoints, log.jsonl, TensorBoard files and model.safetensors, which beit3 finetune imagenet takes and which has the official names. The same command, given again, goes on where a run was ended, to the same numbers. Ctrl-C finishes the step and saves; a second one ends at once.',
  flags: {
    images: { value: 'PATH', help: 'Pictures. Required.', many: true },
    'image-tokenizer': { value: 'FILE', help: 'A VQ-KD checkpoint (beit3 vqkd). Required.' },
    output: { value: 'DIR', help: 'Where everything goes that the run makes. Required.' },
    recipe: {
      value: 'NAME',
      help: 'Settings and sizes that go together; flags win over them. list prints all.',
      default: 'beitv2-base',
    },
    model: { value: 'NAME', help: 'Sizes of a fresh model: base or large.', default: "the recipe's" },
    config: { value: 'FILE', help: 'JSON with sizes of your own.' },
    checkpoint: {
      value: 'FILE',
      help: 'Pretrained weights to go on from, such as beitv2_base_patch16_224_pt1k.pth.',
      default: 'fresh weights',
    },
    'export-format': { value: 'NAME', help: 'Of the weights: safetensors or pth.', default: 'safetensors' },
    ...SETTING_FLAGS,
    ...RUN_FLAGS,
  },
  examples: [
    'beit3 mim --images photos --image-tokenizer vqkd.pth --output run --recipe beitv2-base-300e --image-batch 64 --update-freq 32',
    'beit3 mim --images shards/{0000..0099}.tar --image-tokenizer vqkd.safetensors --output run --recipe small',
  ],
  async run(args, context) {
    if (args.text('recipe') === 'list') return listRecipes(context);
    args.expect(0, 0, 'no argument; pictures are given with --images');
    const output = required(args, 'output', 'the folder for what the run makes');
    const tokenizer = required(args, 'image-tokenizer', 'a VQ-KD checkpoint (see beit3 vqkd)');
    const images = args.texts('images');
    if (images.length === 0) throw new InputError('--images is missing; give a folder of pictures or .tar shards.');
    const recipe = args.text('recipe');
    if (recipe !== undefined) findMimRecipe(recipe);
    const checkpoint = args.text('checkpoint');
    const options = {
      ...runOptions(args),
      output,
      images,
      imageTokenizer: await checkpointFile(tokenizer),
      checkpoint: checkpoint === undefined ? undefined : await checkpointFile(checkpoint),
      model: await sizesGiven(args),
      recipe,
      settings: settingsOf(args),
      exportFormat: args.choice('export-format', ['safetensors', 'pth'] as const),
    };
    const { result, code } = await course(args, context, (rest) => mim({ ...options, ...rest }));
    report(context, result, (model) => `beit3 finetune imagenet --data DIR --output DIR --checkpoint ${model}`);
    return code;
  },
};

function settingsOf(args: Args): Partial<MimSettings> {
  const switched = Object.entries(SWITCHES).filter(([name]) => args.has(name));
  return {
    ...givenNumbers(args, NUMBERS),
    ...Object.assign({}, ...switched.map(([, [, setting]]) => setting)),
    optBetas: givenList(args, 'opt-betas', 2) as [number, number] | undefined,
    normalization: args.choice('normalization', ['imagenet', 'inception'] as const),
  };
}

function listRecipes(context: Context): undefined {
  if (context.wantsJson) {
    context.json(MIM_RECIPES.map((recipe) => ({ ...recipe, settings: { ...BEITV2, ...recipe.settings } })));
    return;
  }
  const head = ['RECIPE', 'STEPS', 'LR', 'BATCH', 'DROP PATH', 'EARLY LAYERS', 'WHAT'];
  const rows = MIM_RECIPES.map(({ name, about, settings }) => {
    const { steps, lr, imageBatch, dropPath, earlyLayers } = { ...BEITV2, ...settings };
    return [name, grouped(steps), String(lr), String(imageBatch), String(dropPath), String(earlyLayers), about];
  });
  context.out(table([head, ...rows]));
}
