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
import type { Command, Context, Flags } from '../command.js';
import { checkpointFile } from '../files.js';
import { grouped, table } from '../format.js';
import { course, RUN_FLAGS, required, runOptions } from '../runFlags.js';
import {
  EXPORT_FORMATS,
  modelFilesFlags,
  type NumberFlag,
  numberFlags,
  numberList,
  numbersGiven,
  oneOf,
  PRETRAINING_NUMBERS,
  sizesGiven,
} from '../settingFlags.js';

const NUMBERS = {
  ...PRETRAINING_NUMBERS,
  'text-batch': ['textBatch', 1, 1e6, 'Texts of a batch.', 'whole'],
  'pair-batch': ['pairBatch', 1, 1e6, 'Pairs of a batch.', 'whole'],
  'text-length': ['textLength', 3, 1e6, 'Tokens of a text, <s> and </s> included.', 'whole'],
  'pair-text-length': ['pairTextLength', 3, 1e6, 'Tokens of the text of a pair at most.', 'whole'],
  'text-mask': ['textMask', 0, 0.99, 'Share of the tokens of a text that are predicted.'],
  'pair-text-mask': ['pairTextMask', 0, 0.99, 'The same of the text of a pair.'],
  'pair-min-crop': ['pairMinCrop', 0.01, 1, 'Least share of the picture of a pair that a crop keeps.'],
} as const satisfies Readonly<Record<string, NumberFlag<keyof PretrainSettings>>>;

const SETTING_FLAGS: Flags = {
  ...numberFlags(NUMBERS, PAPER),
  'opt-betas': { value: 'A,B', help: 'Betas of AdamW.', default: '0.9,0.98', group: 'Settings' },
  'mask-rule': {
    value: 'A/B/C',
    help: 'Per cent of the chosen tokens that become <mask>, a random word, and stay.',
    default: '80/10/10',
    group: 'Settings',
  },
  'loss-weights': {
    value: 'A,B,C,D',
    help: 'Factors on the losses of pictures, texts, and the pictures and texts of pairs.',
    default: '1,1,1,1',
    group: 'Settings',
  },
  initialisation: {
    value: 'NAME',
    help: 'How fresh weights are drawn: paper (small, output matrices of layer l divided by sqrt(2 l)), official (the fine-tuning code) or magneto, which learns at small sizes too.',
    default: 'paper',
    group: 'Settings',
  },
  'checkpoint-activations': { help: 'Recompute activations instead of keeping them.', group: 'Settings' },
};

export const command: Command = {
  usage: [
    'pretrain --images PATH --texts PATH --pairs PATH --tokenizer FILE --image-tokenizer FILE --output DIR [--recipe NAME]',
    'pretrain --recipe list',
  ],
  about:
    'Pretrains a BEiT-3 by masked data modelling: what is hidden in pictures, texts and pairs is predicted, all by one model. PATH is a file, a folder, or a pattern such as shards/{0000..0099}.tar, here or (shards) behind an address: pictures are image files or .tar shards, texts .txt (one a line) or .jsonl, pairs .tar shards of .jpg and .txt as img2dataset writes them, or .jsonl and .csv tables of image and caption. The output folder gets training checkpoints, log.jsonl, TensorBoard files and model.safetensors, which beit3 finetune takes and which has the official names. The same command, given again, goes on where a run was ended, to the same numbers. Ctrl-C finishes the step and saves; a second one ends at once.',
  flags: {
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
    ...modelFilesFlags('base, large or giant', 'beit3_base_patch16_224.pth'),
    ...SETTING_FLAGS,
    ...RUN_FLAGS,
  },
  examples: [
    'beit3 pretrain --images photos --texts books/*.txt --pairs laion/{00000..00099}.tar --tokenizer beit3.spm --image-tokenizer vqkd.pth --output run --recipe small',
    'beit3 pretrain --pairs my.jsonl --checkpoint beit3_base_patch16_224.pth --tokenizer beit3.spm --image-tokenizer vqkd.pth --output run --steps 20000 --lr 1e-4 --pair-batch 32',
  ],
  async run(args, context) {
    if (args.text('recipe') === 'list') return listRecipes(context);
    args.expect(0, 0, 'no argument; data is given with --images, --texts and --pairs');
    const output = required(args, 'output', 'the folder for what the run makes');
    const exportFormat = oneOf(args, 'export-format', EXPORT_FORMATS);
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
      model: await sizesGiven(args, 'encoder_embed_dim'),
      recipe,
      settings: settingsOf(args),
      exportFormat,
    } as const;
    const { result, code } = await course(args, context, (rest) => pretrain({ ...options, ...rest }));
    if (context.wantsJson) context.json(result);
    else {
      if (result.model !== null) {
        context.out(`After ${grouped(result.steps)} steps: ${result.model}`);
        context.out(`Next: beit3 finetune TASK --data DIR --output DIR --checkpoint ${result.model}`);
      }
      if (result.checkpoint !== null) context.out(`Training checkpoint: ${result.checkpoint}`);
      context.out(`Log: ${result.log}`);
    }
    return code;
  },
};

function settingsOf(args: Args): Partial<PretrainSettings> {
  const found: Record<string, unknown> = { ...numbersGiven(args, NUMBERS) };
  const betas = numberList(args, 'opt-betas', 2);
  if (betas) found.optBetas = betas;
  const weights = numberList(args, 'loss-weights', 4);
  if (weights) found.lossWeights = weights;
  const rule = args.text('mask-rule');
  if (rule !== undefined) {
    parseMaskRule(rule);
    found.maskRule = rule;
  }
  const initialisation = oneOf(args, 'initialisation', INITIALISATIONS);
  if (initialisation !== undefined) found.initialisation = initialisation;
  if (args.has('checkpoint-activations')) found.checkpointActivations = true;
  return found;
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
