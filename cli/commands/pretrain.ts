import { INITIALISATIONS } from '../../beit3/model/initialisation.js';
import { pretrain } from '../../beit3/pretrain/pretrain.js';
import {
  findPretrainRecipe,
  PAPER,
  PRETRAIN_RECIPES,
  type PretrainSettings,
  parseMaskRule,
} from '../../beit3/pretrain/settings.js';
import type { Args } from '../args.js';
import { type Command, type Context, inGroup } from '../command.js';
import { checkpointFile } from '../files.js';
import { grouped, table } from '../format.js';
import { PRETRAINING_NUMBERS, sizesGiven } from '../pretrainingFlags.js';
import { course, RUN_FLAGS, report, required, runOptions } from '../runFlags.js';
import { givenList, givenNumbers, type NumberTable, settingFlags } from '../settingFlags.js';

const NUMBERS: NumberTable<PretrainSettings> = {
  ...PRETRAINING_NUMBERS,
  'text-batch': ['N', 'textBatch', 1, 1e6, 'Texts of a batch.'],
  'pair-batch': ['N', 'pairBatch', 1, 1e6, 'Pairs of a batch.'],
  'text-length': ['N', 'textLength', 3, 1e6, 'Tokens of a text, <s> and </s> included.'],
  'pair-text-length': ['N', 'pairTextLength', 3, 1e6, 'Tokens of the text of a pair at most.'],
  'text-mask': ['X', 'textMask', 0, 0.99, 'Share of the tokens of a text that are predicted.'],
  'pair-text-mask': ['X', 'pairTextMask', 0, 0.99, 'The same of the text of a pair.'],
  'pair-min-crop': ['X', 'pairMinCrop', 0.01, 1, 'Least share of the picture of a pair that a crop keeps.'],
};

const SETTING_FLAGS = settingFlags(NUMBERS, PAPER, {
  'opt-betas': { value: 'A,B', help: 'Betas of AdamW.', default: '0.9,0.98' },
  'mask-rule': {
    value: 'A/B/C',
    help: 'Per cent of the chosen tokens that become <mask>, a random word, and stay.',
    default: '80/10/10',
  },
  'loss-weights': {
    value: 'A,B,C,D',
    help: 'Factors on the losses of pictures, texts, and the pictures and texts of pairs.',
    default: '1,1,1,1',
  },
  initialisation: {
    value: 'NAME',
    help: 'How fresh weights are drawn: paper (small, output matrices of layer l divided by sqrt(2 l)), official (the fine-tuning code) or magneto, which learns at small sizes too.',
    default: 'paper',
  },
  'checkpoint-activations': { help: 'Recompute activations instead of keeping them.' },
});

export const command: Command = {
  usage: [
    'pretrain --images PATH --texts PATH --pairs PATH --tokenizer FILE --image-tokenizer FILE --output DIR [--recipe NAME]',
    'pretrain --recipe list',
  ],
  about:
    'Pretrains a BEiT-3 by masked data modelling: what is hidden in pictures, texts and pairs is predicted, all by one model. PATH is a file, a folder, or a pattern in quotes such as "shards/{0000..0099}.tar", here or (shards) behind an address: pictures are image files or .tar shards, texts .txt (one a line) or .jsonl, pairs .tar shards of .jpg and .txt as img2dataset writes them, or .jsonl and .csv tables of image and caption. The output folder gets training checkpoints, log.jsonl, TensorBoard files and model.safetensors, which beit3 finetune takes and which has the official names. The same command, given again, goes on where a run was ended, to the same numbers. Ctrl-C finishes the step and saves; a second one ends at once.',
  flags: {
    ...inGroup('Files', {
      images: { value: 'PATH', help: 'Pictures.', many: true },
      texts: { value: 'PATH', help: 'Texts.', many: true },
      pairs: { value: 'PATH', help: 'Pairs of a picture and a text.', many: true },
      output: { value: 'DIR', help: 'Where everything goes that the run makes. Required.' },
      tokenizer: { value: 'FILE', help: 'The .spm file, for texts and pairs.' },
      'image-tokenizer': { value: 'FILE', help: 'A VQ-KD checkpoint (beit3 vqkd), for pictures and pairs.' },
      recipe: {
        value: 'NAME',
        help: 'Settings and sizes that go together; flags win over them. list prints all.',
        default: 'paper',
      },
      model: { value: 'NAME', help: 'Sizes of a fresh model: base, large or giant.', default: "the recipe's" },
      config: { value: 'FILE', help: 'JSON with sizes of your own.' },
      checkpoint: {
        value: 'FILE',
        help: 'Pretrained weights to go on from, such as beit3_base_patch16_224.pth.',
        default: 'fresh weights',
      },
      'export-format': { value: 'NAME', help: 'Of the weights: safetensors or pth.', default: 'safetensors' },
    }),
    ...SETTING_FLAGS,
    ...RUN_FLAGS,
  },
  examples: [
    'beit3 pretrain --images photos --texts books --pairs laion --tokenizer beit3.spm --image-tokenizer vqkd.pth --output run',
    'beit3 pretrain --pairs "shards/{000..099}.tar" --checkpoint beit3_base_patch16_224 ... --steps 20000 --lr 1e-4 --pair-batch 32',
  ],
  async run(args, context) {
    if (args.text('recipe') === 'list') return listRecipes(context);
    args.expect(
      0,
      0,
      'no argument (data is given with --images, --texts and --pairs; a pattern needs quotes, or the shell spells it out)',
    );
    const output = required(args, 'output', 'the folder for what the run makes');
    const recipe = args.text('recipe');
    if (recipe !== undefined) findPretrainRecipe(recipe);
    const checkpoint = args.text('checkpoint');
    const codes = args.text('image-tokenizer');
    const options = {
      ...runOptions(args),
      output,
      images: args.texts('images'),
      texts: args.texts('texts'),
      pairs: args.texts('pairs'),
      tokenizer: args.text('tokenizer'),
      imageTokenizer: codes === undefined ? undefined : await checkpointFile(codes),
      checkpoint: checkpoint === undefined ? undefined : await checkpointFile(checkpoint),
      model: await sizesGiven(args),
      recipe,
      settings: settingsOf(args),
      exportFormat: args.choice('export-format', ['safetensors', 'pth'] as const),
    } as const;
    const { result, code } = await course(args, context, (rest) => pretrain({ ...options, ...rest }));
    report(context, result, (model) => `beit3 finetune TASK --data DIR --output DIR --checkpoint ${model}`);
    return code;
  },
};

function settingsOf(args: Args): Partial<PretrainSettings> {
  const maskRule = args.text('mask-rule');
  if (maskRule !== undefined) parseMaskRule(maskRule);
  return {
    ...givenNumbers(args, NUMBERS),
    optBetas: givenList(args, 'opt-betas', 2) as [number, number] | undefined,
    lossWeights: givenList(args, 'loss-weights', 4) as [number, number, number, number] | undefined,
    maskRule,
    initialisation: args.choice('initialisation', INITIALISATIONS),
    checkpointActivations: args.has('checkpoint-activations') || undefined,
  };
}

function listRecipes(context: Context): undefined {
  if (context.wantsJson) {
    context.json(PRETRAIN_RECIPES.map((recipe) => ({ ...recipe, settings: { ...PAPER, ...recipe.settings } })));
    return;
  }
  const head = ['RECIPE', 'STEPS', 'LR', 'BATCH', 'DROP PATH', 'WHAT'];
  const rows = PRETRAIN_RECIPES.map(({ name, about, settings }) => {
    const { steps, lr, imageBatch, textBatch, pairBatch, dropPath } = { ...PAPER, ...settings };
    return [name, grouped(steps), String(lr), `${imageBatch}+${textBatch}+${pairBatch}`, String(dropPath), about];
  });
  context.out(table([head, ...rows]));
}
