import type { IndexTask } from '../../beit3/data/index/index.js';
import {
  FINETUNE_TASKS,
  type FinetuneEvent,
  type FinetuneResult,
  findRecipe,
  finetune,
  RECIPES,
} from '../../beit3/finetune/index.js';
import { openBackend } from '../../beit3/pipeline/session.js';
import type { Command, Context } from '../command.js';
import { checkpointFile } from '../files.js';
import { FINETUNE_FLAGS, finetuneOptions, taskOf } from '../finetuneFlags.js';
import { grouped, table } from '../format.js';
import { commandLine, TrainingLine } from '../trainingLine.js';

const PRINT_EVERY = 10;

export const command: Command = {
  usage: [
    'finetune TASK --data DIR --output DIR --checkpoint FILE [--recipe NAME]',
    'finetune TASK --data DIR --output DIR --config FILE --tokenizer FILE',
    'finetune --recipe list',
  ],
  about: `Trains a model on a task, with the settings and defaults of the official code. TASK is one of ${FINETUNE_TASKS.join(', ')}; the data is what beit3 index has made ready. The output folder gets training checkpoints, log.jsonl, TensorBoard files, and the weights of the last step and of the best epoch, which the official PyTorch model loads as well. The same command, given again, goes on where a run was ended, to the same numbers. Ctrl-C finishes the step and saves; a second one ends at once.`,
  flags: FINETUNE_FLAGS,
  examples: [
    'beit3 finetune vqav2 --data coco --output run --recipe beit3_base_patch16_480_vqa --batch-size 8',
    'beit3 finetune imagenet --data pets --output run --checkpoint beit3_base_patch16_224.pth --lr 1e-4 --batch-size 32',
  ],
  async run(args, context) {
    if (args.text('recipe') === 'list') return listRecipes(context);
    const [name] = args.expect(1, 1, `a task (${FINETUNE_TASKS.join(', ')})`);
    const task = taskOf(name);
    const given = await finetuneOptions(task, args);
    const checkpoint = await checkpointOf(task, given);
    const printFreq = args.whole('print-freq', 1, 1e9) ?? PRINT_EVERY;
    const backend = await openBackend({
      checkpoint: '',
      device: context.device,
      adapter: context.adapter,
      threads: context.threads,
    });
    const interrupt = new AbortController();
    let code = 0;
    context.onInterrupt((exitCode) => {
      code = exitCode;
      interrupt.abort();
      context.note('Ending after this step; press again to end at once, without saving.');
    });
    const line = new TrainingLine(context, printFreq);
    const loading = context.progress('loading');
    let result: FinetuneResult;
    try {
      result = await finetune({
        ...given,
        checkpoint,
        backend,
        signal: interrupt.signal,
        onEvent: (event: FinetuneEvent) => line.show(event),
        onLoading: (done, total) => (done >= total ? loading.end() : loading.update(done, total)),
      });
    } finally {
      loading.end();
      line.end();
    }
    if (context.wantsJson) context.json({ task, ...result });
    else report(context, task, given.data, result);
    if (!result.interrupted) return undefined;
    if (result.checkpoint === null) context.note(`Ended after step ${result.steps}; nothing was saved.`);
    else context.note(`Ended after step ${grouped(result.steps)}; go on with: ${commandLine(process.argv.slice(2))}`);
    return code;
  },
};

/** The checkpoint that was given, or the one that the recipe begins with if it was pulled. */
async function checkpointOf(
  task: IndexTask,
  { checkpoint, recipe, config, model }: { checkpoint?: string; recipe?: string; config?: unknown; model?: string },
): Promise<string | undefined> {
  if (checkpoint !== undefined) return checkpointFile(checkpoint);
  if (recipe === undefined || config !== undefined || model !== undefined) return undefined;
  const name = findRecipe(recipe, task).checkpoint;
  const found = await checkpointFile(name);
  return found === name ? undefined : found;
}

function report(context: Context, task: string, data: string, result: FinetuneResult): void {
  const { models, bestModels, best, steps, checkpoint, log } = result;
  if (models.length > 0) context.out(`After ${grouped(steps)} steps: ${models.join(', ')}`);
  if (best) {
    const value = `${best.key} ${best.value.toFixed(2)} after epoch ${best.epoch + 1}`;
    context.out(`Best, ${value}${bestModels.length > 0 ? `: ${bestModels.join(', ')}` : ''}`);
  }
  if (checkpoint !== null) context.out(`Training checkpoint: ${checkpoint}`);
  context.out(`Log: ${log}`);
  const model = bestModels[0] ?? models[0];
  if (model) context.out(`Next: beit3 evaluate ${task} --data ${data} --split val --checkpoint ${model}`);
}

function listRecipes(context: Context): undefined {
  if (context.wantsJson) {
    context.json(RECIPES);
    return;
  }
  const head = ['RECIPE', 'TASK', 'BEGINS WITH', 'BATCH', 'LR', 'LAYER DECAY', 'EPOCHS', 'WARM-UP', 'DROP PATH'];
  const rows = RECIPES.map(({ name, task, checkpoint, totalBatch, settings }) => [
    name,
    task,
    checkpoint,
    ...[totalBatch, settings.lr, settings.layerDecay, settings.epochs, settings.warmupEpochs, settings.dropPath].map(
      String,
    ),
  ]);
  context.out(table([head, ...rows]));
}
