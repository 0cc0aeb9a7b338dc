/** What the commands that ask a model have in common. */
import type { PipelineOptions, Pipelines, PipelineTask } from '../beit3/pipeline/index.js';
import { pipeline } from '../beit3/pipeline/index.js';
import { shippedModel } from '../beit3/zoo/shipped.js';
import type { Args } from './args.js';
import type { Context, Flags } from './command.js';
import { checkpointFile } from './files.js';

const CHECKPOINT: Flags = {
  checkpoint: {
    value: 'FILE',
    help: 'Weights, .pth or .safetensors: a path, or the name of official ones that beit3 pull has put into its folder.',
    default: 'the small emoji model in the package',
  },
  config: {
    value: 'FILE',
    help: 'JSON with sizes that the checkpoint does not tell.',
    default: 'config.json beside it',
  },
  'image-size': { value: 'N', help: 'Side of the images in pixels.', default: "the checkpoint's" },
};

const TOKENIZER: Flags = {
  tokenizer: { value: 'FILE', help: 'The .spm file of the model.', default: 'the one beside the checkpoint' },
};

const LABELS: Flags = {
  labels: {
    value: 'FILE',
    help: "Names of the classes: one a line, JSON, or VQA's answer2label.txt.",
    default: 'the names of the emoji model; of other checkpoints numbers are printed',
  },
};

export const TOP: Flags = { top: { value: 'N', help: 'Results to print.', default: '5' } };

/** The flags of a command that loads a model. */
export function modelFlags({ text = false, labels = false } = {}): Flags {
  return { ...CHECKPOINT, ...(text ? TOKENIZER : {}), ...(labels ? LABELS : {}) };
}

/** The options of a pipeline, from the flags. Without --checkpoint the model in the package answers, and it is said so. */
export async function modelOptions(task: PipelineTask, args: Args, context: Context): Promise<PipelineOptions> {
  const given = args.text('checkpoint');
  const files = given === undefined ? await shippedFiles(task) : { checkpoint: await checkpointFile(given) };
  if (given === undefined)
    context.note('No --checkpoint: the small model in the package answers, which knows emoji and nothing else.');
  const progress = context.progress('loading');
  return {
    ...files,
    ...(args.text('tokenizer') === undefined ? {} : { tokenizer: args.text('tokenizer') }),
    ...(args.text('labels') === undefined ? {} : { labels: args.text('labels') }),
    config: args.text('config'),
    imageSize: args.whole('image-size', 1, 8192),
    device: context.device,
    adapter: context.adapter,
    threads: context.threads,
    onProgress: (done, total) => (done >= total ? progress.end() : progress.update(done, total)),
  };
}

async function shippedFiles(task: PipelineTask): Promise<Pick<PipelineOptions, 'checkpoint' | 'tokenizer' | 'labels'>> {
  const { checkpoint, tokenizer, classes, answers } = await shippedModel();
  const labels = task === 'classify' ? classes : task === 'vqa' ? answers : undefined;
  return { checkpoint, tokenizer, labels };
}

/** Loads a pipeline, works with it and frees it. */
export async function withPipeline<T extends PipelineTask>(
  task: T,
  args: Args,
  context: Context,
  work: (loaded: Pipelines[T]) => Promise<void>,
): Promise<void> {
  const loaded = await pipeline(task, await modelOptions(task, args, context));
  try {
    await work(loaded);
  } finally {
    loaded.dispose();
  }
}
