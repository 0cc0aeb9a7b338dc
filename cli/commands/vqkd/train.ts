import { recipeNamed } from '../../../beit3/training/settings.js';
import { DEFAULT_RECIPE, OFFICIAL, VQKD_RECIPES, type VqKdSettings } from '../../../beit3/vqkd/settings.js';
import { COLLAPSE } from '../../../beit3/vqkd/task.js';
import { trainVqKd } from '../../../beit3/vqkd/train.js';
import { type Command, type Context, inGroup } from '../../command.js';
import { checkpointFile, configFile } from '../../files.js';
import { grouped, table } from '../../format.js';
import { course, RUN_FLAGS, report, required, runOptions } from '../../runFlags.js';
import { givenList, givenNumbers, type NumberTable, OPTIMISER_NUMBERS, settingFlags } from '../../settingFlags.js';
import { TEACHER_FLAGS, teacherOptions } from './flags.js';

const NUMBERS: NumberTable<VqKdSettings> = {
  steps: ['N', 'steps', 1, 1e9, 'Steps of training; the rate falls until the last.'],
  batch: ['N', 'batch', 1, 1e6, 'Pictures of a step.'],
  ...OPTIMISER_NUMBERS,
  lr: ['X', 'lr', 0, 10, 'The highest learning rate; officially 5e-5 for each 128 pictures of a batch.'],
  'warmup-steps': ['N', 'warmupSteps', 0, 1e9, 'Steps in which it rises.'],
  'min-crop': ['X', 'minCrop', 0.01, 1, 'Least share of a picture that a crop keeps.'],
  'color-jitter': ['X', 'colorJitter', 0, 1, 'How far colours may go.'],
  'start-batches': ['N', 'startBatches', 1, 1e4, 'Batches on whose vectors k-means begins the codebook.'],
  'restart-every': ['N', 'restartEvery', 1, 1e9, 'Steps between two restarts of dead codes.'],
  'restart-share': [
    'X',
    'restartShare',
    0,
    1,
    'A code is dead to which less than this part of its equal share of a batch falls, on average.',
  ],
  'shuffle-buffer': ['N', 'shuffleBuffer', 1, 1e7, 'Pictures that are shuffled at a time.'],
  seed: ['N', 'seed', 0, 2 ** 52, 'Of weights, codes and order.'],
};

const SETTING_FLAGS = settingFlags(NUMBERS, OFFICIAL, {
  'opt-betas': { value: 'A,B', help: 'Betas of AdamW.', default: OFFICIAL.optBetas.join() },
  'restart-dead': {
    value: 'no',
    optional: true,
    help: 'Put vectors of the batch in the place of dead codes, until the last fifth of the run; =no to leave it.',
    default: 'as the recipe says',
  },
});

export const command: Command = {
  usage: [
    'vqkd train --images PATH --teacher FILE --output DIR [--recipe NAME]',
    'vqkd train --images PATH --features FILE --output DIR [--recipe NAME]',
    'vqkd train --recipe list',
  ],
  about: `Trains a visual tokenizer: an encoder, a codebook and a decoder that tells from the codes alone what a teacher sees in each patch. PATH is a folder of image files, or .tar shards by a pattern in quotes such as "shards/{0000..0099}.tar", here or behind an address. The teacher is run beside the training, or its features are read from files of beit3 vqkd features; pictures are then taken as they were for these: resized and cropped in the middle, never varied. Each step logs reconstruction (1 - cosine), commitment, use (the share of the codes that occur among the last vectors, 32 for each code that there is) and perplexity (how many codes there would be if all of these occurred equally often); below ${100 * COLLAPSE}% of use a remark warns of a collapse. The output folder gets training checkpoints, log.jsonl, TensorBoard files and model.safetensors, which has the official names: beit3 pretrain --image-tokenizer takes it. The same command, given again, goes on where a run was ended, to the same numbers. Ctrl-C finishes the step and saves; a second one ends at once.`,
  flags: {
    ...inGroup('Files', {
      images: { value: 'PATH', help: 'Pictures. Required.', many: true },
      ...TEACHER_FLAGS,
      features: { value: 'FILE', help: 'What beit3 vqkd features made of the same pictures, instead.', many: true },
      output: { value: 'DIR', help: 'Where everything goes that the run makes. Required.' },
      recipe: {
        value: 'NAME',
        help: 'Settings and sizes that go together; flags win over them. list prints all.',
        default: DEFAULT_RECIPE,
      },
      config: { value: 'FILE', help: 'JSON with sizes that differ from those of the recipe: img_size, n_code, ...' },
      'export-format': { value: 'NAME', help: 'Of the tokenizer: safetensors or pth.', default: 'safetensors' },
    }),
    ...SETTING_FLAGS,
    ...RUN_FLAGS,
  },
  examples: [
    'beit3 vqkd train --images imagenet/train --teacher ViT-B-16.pt --output run',
    'beit3 vqkd train --images photos --teacher retrieval/model.safetensors --output run --recipe small --steps 10000',
    'beit3 vqkd train --images photos --features clip.safetensors --output run --recipe base-one-gpu',
  ],
  async run(args, context) {
    if (args.text('recipe') === 'list') return listRecipes(context);
    args.expect(
      0,
      0,
      'no argument (pictures are given with --images; a pattern needs quotes, or the shell spells it out)',
    );
    const recipe = args.text('recipe');
    if (recipe !== undefined) recipeNamed(VQKD_RECIPES, recipe);
    const restart = args.choice('restart-dead', ['', 'no'] as const);
    const config = args.text('config');
    const { teacher, layer } = await teacherOptions(args);
    const options = {
      ...runOptions(args),
      output: required(args, 'output', 'the folder for what the run makes'),
      images: args.texts('images'),
      teacher,
      teacherLayer: layer,
      features: await Promise.all(args.texts('features').map(checkpointFile)),
      recipe,
      model: config === undefined ? undefined : await configFile(config),
      settings: {
        ...givenNumbers(args, NUMBERS),
        optBetas: givenList(args, 'opt-betas', 2) as [number, number] | undefined,
        restartDead: restart === undefined ? undefined : restart !== 'no',
      },
      exportFormat: args.choice('export-format', ['safetensors', 'pth'] as const),
    };
    const { result, code } = await course(args, context, (rest) => trainVqKd({ ...options, ...rest }));
    report(context, result, (model) => `beit3 pretrain --image-tokenizer ${model} --images PATH --output DIR`);
    return code;
  },
};

function listRecipes(context: Context): undefined {
  const whole = VQKD_RECIPES.map((recipe) => ({ ...recipe, settings: { ...OFFICIAL, ...recipe.settings } }));
  if (context.wantsJson) {
    context.json(whole);
    return;
  }
  const head = ['RECIPE', 'STEPS', 'LR', 'BATCH', 'WHAT'];
  const rows = whole.map(({ name, about, settings: { steps, lr, batch } }) => [
    name,
    grouped(steps),
    String(lr),
    grouped(batch),
    about,
  ]);
  context.out(table([head, ...rows]));
}
