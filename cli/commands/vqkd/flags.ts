/** What the commands for visual tokenizers have in common. */
import { openBackend } from '../../../beit3/pipeline/session.js';
import { loadVqKd } from '../../../beit3/vqkd/checkpoint.js';
import type { VqKd } from '../../../beit3/vqkd/vqkd.js';
import type { Args } from '../../args.js';
import type { Context, Flags } from '../../command.js';
import { checkpointFile } from '../../files.js';

export const TEACHER_FLAGS: Flags = {
  teacher: {
    value: 'FILE',
    help: 'A CLIP with a ViT (ViT-B-16.pt, or as Hugging Face names its parts), a DINO (dino_vitbase16_pretrain.pth), or any BEiT-3 that sees pictures.',
  },
  'teacher-layer': {
    value: 'N',
    help: 'Of a BEiT-3: the layer whose outputs are the features, from 0; -1 is the last one.',
    default: '-2',
  },
};

/** The teacher's file and layer, as they were given. */
export async function teacherOptions(args: Args) {
  const file = args.text('teacher');
  return {
    teacher: file === undefined ? undefined : await checkpointFile(file),
    layer: args.whole('teacher-layer', -1024, 1024),
  };
}

/** The device that was asked for. */
export function backendOf({ device, adapter, threads }: Context) {
  return openBackend({ checkpoint: '', device, adapter, threads });
}

/** Loads a tokenizer, works with it and frees it. */
export async function withTokenizer<R>(file: string, context: Context, work: (model: VqKd) => Promise<R>): Promise<R> {
  const progress = context.progress('loading');
  const { model } = await loadVqKd(await checkpointFile(file), {
    backend: await backendOf(context),
    onProgress: (done, total) => (done >= total ? progress.end() : progress.update(done, total)),
  });
  try {
    return await work(model);
  } finally {
    progress.end();
    model.dispose();
  }
}
