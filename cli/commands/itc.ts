import { itc } from '../../beit3/itc/itc.js';
import { ITC_PAPER, ITC_RECIPES, type ItcSettings } from '../../beit3/itc/settings.js';
import { recipeNamed } from '../../beit3/training/settings.js';
import { InputError } from '../../core/errors.js';
import type { Args } from '../args.js';
import type { Command, Context } from '../command.js';
import { checkpointFile } from '../files.js';
import { grouped, table } from '../format.js';
import { course, RUN_FLAGS, report, required, runOptions } from '../runFlags.js';
import { givenList, givenNumbers, type NumberTable, OPTIMISER_NUMBERS, settingFlags } from '../settingFlags.js';

const NUMBERS: NumberTable<ItcSettings> = {
  epochs: ['X', 'epochs', 1e-6, 1e6, 'Passes over the pairs.'],
  'pairs-per-epoch': [
    'N',
    'pairsPerEpoch',
    1,
    1e12,
    'Pairs of a pass. Rows of tables are counted without it, shards not.',
  ],
  steps: ['N', 'steps', 1, 1e9, 'Steps of training, instead of --epochs.'],
  ...OPTIMISER_NUMBERS,
  'warmup-epochs': ['X', 'warmupEpochs', 0, 1e6, 'Passes in which it rises; with --steps the same share of the run.'],
  'warmup-steps': ['N', 'warmupSteps', 0, 1e9, 'Steps in which it rises, instead.'],
  'layer-decay': ['X', 'layerDecay', 0.01, 1, 'Factor on the rate from each layer to the one below.'],
  'drop-path': ['X', 'dropPath', 0, 0.99, 'Stochastic depth of the last layer.'],
  'batch-size': ['N', 'batchSize', 2, 1e6, 'Pairs of a step, each of which is told from all others.'],
  chunk: ['N', 'chunk', 1, 1e6, 'Pairs of which activations are held at a time: lower it where memory runs out.'],
  'text-length': ['N', 'textLength', 3, 1e6, 'Tokens of a text at most; longer ones are cut, and the run says so.'],
  'input-size': ['N', 'inputSize', 8, 8192, "Side of the pictures in pixels; the checkpoint's without it."],
  'shuffle-buffer': ['N', 'shuffleBuffer', 1, 1e7, 'Pairs that are shuffled at a time.'],
  seed: ['N', 'seed', 0, Number.MAX_SAFE_INTEGER, 'Of new weights and of the order.'],
  rank: ['N', 'rank', 0, 1e6, 'Of several processes that share the data, which one this is.'],
  'world-size': ['N', 'worldSize', 1, 1e6, 'How many there are.'],
};

const SETTING_FLAGS = settingFlags(NUMBERS, ITC_PAPER, {
  'opt-betas': { value: 'A,B', help: 'Betas of AdamW.', default: ITC_PAPER.optBetas.join() },
  randaug: { help: 'Vary pictures by RandAugment too.' },
  'checkpoint-activations': { help: 'Recompute activations instead of keeping them.' },
});

export const command: Command = {
  usage: [
    'itc --pairs PATH --checkpoint FILE --output DIR [--tokenizer FILE] [--recipe NAME] [--pairs-per-epoch N | --steps N]',
    'itc --recipe list',
  ],
  about:
    'Tunes a pretrained BEiT-3 by image-text contrast: pictures and texts are read apart, and each picture of a batch is to find its own text among all others, and each text its picture. PATH is a file, a folder, or a pattern such as shards/{0000..0099}.tar, here or (shards) behind an address: .tar shards of .jpg and .txt as img2dataset writes them, or .jsonl and .csv tables of image and caption. Batches of any size fit: features come first, then gradients chunk by chunk, which are those of the whole batch; on the host a pair of 224 pixels takes 0.6 MB. Pairs that are there twice in a batch count as wrong for each other. The temperature is learnt; the factor on similarities (logitScale) stays within 1 to 100. The output folder gets training checkpoints, log.jsonl, TensorBoard files and model.safetensors, which has the names of the official beit3_*_itc files: beit3 evaluate, retrieve, embed and finetune coco_retrieval take it. The same command, given again, goes on where a run was ended, to the same numbers. Ctrl-C finishes the step and saves; a second one ends at once.',
  flags: {
    pairs: { value: 'PATH', help: 'Pairs of a picture and a text. Required.', many: true },
    output: { value: 'DIR', help: 'Where everything goes that the run makes. Required.' },
    checkpoint: {
      value: 'FILE',
      help: 'Pretrained weights to begin with, such as beit3_base_patch16_224.pth, or what beit3 pretrain has made. Required.',
    },
    tokenizer: { value: 'FILE', help: 'The .spm file of the model.', default: 'the one beside the checkpoint' },
    recipe: {
      value: 'NAME',
      help: 'Settings that go together; flags win over them. list prints all.',
      default: 'paper',
    },
    'export-format': { value: 'NAME', help: 'Of the weights: safetensors or pth.', default: 'safetensors' },
    ...SETTING_FLAGS,
    ...RUN_FLAGS,
  },
  examples: [
    'beit3 itc --pairs laion/{00000..00099}.tar --checkpoint beit3_base_patch16_224.pth --output run --recipe base-one-gpu --pairs-per-epoch 1000000',
    'beit3 itc --pairs my.jsonl --checkpoint pretrained/model.safetensors --output run --recipe small --epochs 20',
  ],
  async run(args, context) {
    if (args.text('recipe') === 'list') return listRecipes(context);
    args.expect(0, 0, 'no argument; data is given with --pairs');
    const recipe = args.text('recipe');
    if (recipe !== undefined) recipeNamed(ITC_RECIPES, recipe);
    const options = {
      ...runOptions(args),
      pairs: args.texts('pairs'),
      output: required(args, 'output', 'the folder for what the run makes'),
      checkpoint: await checkpointFile(required(args, 'checkpoint', 'a pretrained model')),
      tokenizer: args.text('tokenizer'),
      recipe,
      settings: settingsOf(args),
      exportFormat: args.choice('export-format', ['safetensors', 'pth'] as const),
    };
    const { result, code } = await course(args, context, (rest) => itc({ ...options, ...rest }));
    report(context, result, (model) => `beit3 evaluate coco_retrieval --data DIR --checkpoint ${model}`);
    return code;
  },
};

function settingsOf(args: Args): Partial<ItcSettings> {
  if (args.has('steps') && args.has('epochs'))
    throw new InputError('--steps and --epochs contradict; give one of them.');
  return {
    ...givenNumbers(args, NUMBERS),
    // A recipe may count steps.
    ...(args.has('epochs') ? { steps: null } : {}),
    optBetas: givenList(args, 'opt-betas', 2) as [number, number] | undefined,
    randaug: args.has('randaug') || undefined,
    checkpointActivations: args.has('checkpoint-activations') || undefined,
  };
}

function listRecipes(context: Context): undefined {
  if (context.wantsJson) {
    context.json(ITC_RECIPES.map((recipe) => ({ ...recipe, settings: { ...ITC_PAPER, ...recipe.settings } })));
    return;
  }
  const head = ['RECIPE', 'EPOCHS', 'LR', 'BATCH', 'LAYER DECAY', 'DROP PATH', 'WHAT'];
  const rows = ITC_RECIPES.map(({ name, about, settings }) => {
    const { epochs, lr, batchSize, layerDecay, dropPath } = { ...ITC_PAPER, ...settings };
    return [name, String(epochs), String(lr), grouped(batchSize), String(layerDecay), String(dropPath), about];
  });
  context.out(table([head, ...rows]));
}
