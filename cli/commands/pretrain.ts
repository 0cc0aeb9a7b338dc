import { parseJson } from '../../beit3/checkpoint.js';
import { INITIALISATIONS, type Initialisation } from '../../beit3/model/initialisation.js';
import { pretrain } from '../../beit3/pretrain/pretrain.js';
import {
  findPretrainRecipe,
  PAPER,
  PRETRAIN_RECIPES,
  type PretrainSettings,
  parseMaskRule,
} from '../../beit3/pretrain/settings.js';
import { readBytes } from '../../beit3/readBytes.js';
import { InputError } from '../../core/errors.js';
import type { Args } from '../args.js';
import { type Command, type Context, type Flag, inGroup } from '../command.js';
import { checkpointFile } from '../files.js';
import { grouped, table } from '../format.js';
import { course, RUN_FLAGS, required, runOptions } from '../runFlags.js';

const MAX_CONFIG_BYTES = 1 << 20;

/** Settings that are one number: least, most, and what they mean. */
const NUMBERS: Readonly<
  Record<string, readonly [key: keyof PretrainSettings, least: number, most: number, help: string]>
> = {
  steps: ['steps', 1, 1e9, 'Steps of training; the rate falls until the last.'],
  lr: ['lr', 0, 10, 'The highest learning rate.'],
  'min-lr': ['minLr', 0, 10, 'Where it falls to, along a cosine.'],
  'warmup-steps': ['warmupSteps', 0, 1e9, 'Steps in which it rises.'],
  'weight-decay': ['weightDecay', 0, 10, 'Of matrices.'],
  'opt-eps': ['optEps', 0, 1, 'Epsilon of AdamW.'],
  'clip-grad': ['clipGrad', 0, 1e6, 'Most norm of all gradients; 0 for no clipping.'],
  'drop-path': ['dropPath', 0, 0.99, 'Stochastic depth of the last layer.'],
  'image-batch': ['imageBatch', 1, 1e6, 'Pictures of a batch.'],
  'text-batch': ['textBatch', 1, 1e6, 'Texts of a batch.'],
  'pair-batch': ['pairBatch', 1, 1e6, 'Pairs of a batch.'],
  'update-freq': ['updateFreq', 1, 1e6, 'Batches whose gradients a step adds up.'],
  'text-length': ['textLength', 3, 1e6, 'Tokens of a text, <s> and </s> included.'],
  'pair-text-length': ['pairTextLength', 3, 1e6, 'Tokens of the text of a pair at most.'],
  'image-mask': ['imageMask', 0, 0.99, 'Share of patches that are hidden.'],
  'min-block': ['minBlock', 1, 1e4, 'Patches of a hidden block at least.'],
  'text-mask': ['textMask', 0, 0.99, 'Share of the tokens of a text that are predicted.'],
  'pair-text-mask': ['pairTextMask', 0, 0.99, 'The same of the text of a pair.'],
  'min-crop': ['minCrop', 0.01, 1, 'Least share of a picture that a crop keeps.'],
  'pair-min-crop': ['pairMinCrop', 0.01, 1, 'The same of the picture of a pair.'],
  'color-jitter': ['colorJitter', 0, 1, 'How far colours may go.'],
  'shuffle-buffer': ['shuffleBuffer', 1, 1e7, 'Samples that are shuffled at a time.'],
  seed: ['seed', 0, Number.MAX_SAFE_INTEGER, 'Of weights, order and masks.'],
  rank: ['rank', 0, 1e6, 'Of several processes that share the data, which one this is.'],
  'world-size': ['worldSize', 1, 1e6, 'How many there are.'],
};

const WHOLE = /^(steps|warmup-steps|.*-batch|update-freq|.*-length|min-block|shuffle-buffer|seed|rank|world-size)$/;

const SETTING_FLAGS = inGroup('Settings', {
  ...Object.fromEntries(
    Object.entries(NUMBERS).map(([name, [key, , , help]]): [string, Flag] => [
      name,
      { value: WHOLE.test(name) ? 'N' : 'X', help, default: String(PAPER[key]) },
    ]),
  ),
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
    const exportFormat = args.text('export-format') ?? 'safetensors';
    if (exportFormat !== 'safetensors' && exportFormat !== 'pth')
      throw new InputError(`--export-format expects safetensors or pth, got ${JSON.stringify(exportFormat)}.`);
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
      model: await modelOf(args),
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

async function modelOf(args: Args): Promise<string | Record<string, unknown> | undefined> {
  const [name, file] = [args.text('model'), args.text('config')];
  if (name !== undefined && file !== undefined) throw new InputError('Give either --model or --config, not both.');
  if (file === undefined) return name;
  const bytes = await readBytes(file, { what: 'the config', maxBytes: MAX_CONFIG_BYTES });
  const json = parseJson(new TextDecoder().decode(bytes), file);
  if (typeof json === 'object' && json !== null && !Array.isArray(json)) return json as Record<string, unknown>;
  throw new InputError(`${file} is no config: expected a JSON object with fields like encoder_embed_dim.`);
}

function settingsOf(args: Args): Partial<PretrainSettings> {
  const found: Record<string, unknown> = {};
  for (const [name, [key, least, most]] of Object.entries(NUMBERS)) {
    const value = WHOLE.test(name) ? args.whole(name, least, most) : args.number(name, least, most);
    if (value !== undefined) found[key] = value;
  }
  const betas = numbersOf(args, 'opt-betas', 2);
  if (betas) found.optBetas = betas;
  const weights = numbersOf(args, 'loss-weights', 4);
  if (weights) found.lossWeights = weights;
  const rule = args.text('mask-rule');
  if (rule !== undefined) {
    parseMaskRule(rule);
    found.maskRule = rule;
  }
  const initialisation = args.text('initialisation');
  if (initialisation !== undefined) {
    if (!INITIALISATIONS.includes(initialisation as Initialisation))
      throw new InputError(
        `--initialisation expects one of ${INITIALISATIONS.join(', ')}, got ${JSON.stringify(initialisation)}.`,
      );
    found.initialisation = initialisation;
  }
  if (args.has('checkpoint-activations')) found.checkpointActivations = true;
  return found;
}

/** `1,2,3` as numbers of at least 0. */
function numbersOf(args: Args, flag: string, count: number): number[] | undefined {
  const text = args.text(flag);
  if (text === undefined) return undefined;
  const values = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if (values.length === count && values.every((n) => n >= 0 && Number.isFinite(n))) return values;
  throw new InputError(
    `--${flag} expects ${count} numbers of at least 0 with commas between them, got ${JSON.stringify(text)}.`,
  );
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
