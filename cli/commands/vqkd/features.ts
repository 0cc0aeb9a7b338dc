import { writeFeatures } from '../../../beit3/vqkd/features.js';
import { loadTeacher } from '../../../beit3/vqkd/teachers/load.js';
import { InputError } from '../../../core/errors.js';
import type { Command } from '../../command.js';
import { grouped } from '../../format.js';
import { required } from '../../runFlags.js';
import { backendOf, TEACHER_FLAGS, teacherOptions } from './flags.js';

export const command: Command = {
  usage: ['vqkd features --images PATH --teacher FILE --output FILE.safetensors [--dtype float16]'],
  about:
    'Writes the features that a teacher has of pictures, so that beit3 vqkd train --features need not run it. Pictures are resized and cropped in the middle. The file has for each picture a tensor [patches, width] under its path, as --images leads to it: give the same --images to train. Only a batch is held in memory. A file holds some 500,000 pictures at most; train takes several.',
  flags: {
    images: { value: 'PATH', help: 'Folders of image files, or .tar shards. Required.', many: true },
    ...TEACHER_FLAGS,
    output: { value: 'FILE', help: 'The file to write, .safetensors. Required.' },
    dtype: { value: 'NAME', help: 'float32, or float16 for half the room.', default: 'float32' },
    'image-size': { value: 'N', help: 'Side of the pictures of the tokenizer.', default: "the teacher's" },
    grid: {
      value: 'N',
      help: 'Patches along a side. Of a BEiT-3 a multiple of its own is allowed: each of its patches then stands for several.',
      default: "the teacher's",
    },
    batch: { value: 'N', help: 'Pictures at a time.', default: '32' },
    workers: {
      value: 'N',
      help: 'Threads that load pictures; 0 for none.',
      default: 'one less than there are processors',
    },
  },
  examples: ['beit3 vqkd features --images photos --teacher ViT-B-16.pt --output clip.safetensors --dtype float16'],
  async run(args, context) {
    args.expect(
      0,
      0,
      'no argument (pictures are given with --images; a pattern needs quotes, or the shell spells it out)',
    );
    const output = required(args, 'output', 'the file to write');
    if (!output.endsWith('.safetensors'))
      throw new InputError(`--output ${output}: expected a name that ends in .safetensors.`);
    const images = args.texts('images');
    if (images.length === 0) throw new InputError('--images is missing; give folders of pictures or .tar shards.');
    required(args, 'teacher', 'the checkpoint of one');
    const dtype = args.choice('dtype', ['float32', 'float16'] as const);
    const batch = args.whole('batch', 1, 1e5);
    const workers = args.whole('workers', 0, 256);
    const { teacher: file, layer } = await teacherOptions(args);
    const backend = await backendOf(context);
    const loading = context.progress('loading');
    const teacher = await loadTeacher(file as string, {
      backend,
      layer,
      imageSize: args.whole('image-size', 1, 8192),
      grid: args.whole('grid', 1, 1024),
      onProgress: (done, total) => (done >= total ? loading.end() : loading.update(done, total)),
    });
    const progress = context.progress('pictures', grouped);
    try {
      const written = await writeFeatures(output, teacher, {
        images,
        backend,
        dtype,
        batch,
        workers,
        onProgress: (done, total) => progress.update(done, total),
        onSkip: (reason) => context.note(`Skipped: ${reason}`),
      });
      progress.end();
      const { kind, grid, width, imageSize } = teacher;
      const shape = [grid * grid, width];
      if (context.wantsJson) context.json({ output, ...written, teacher: kind, imageSize, shape });
      else {
        const broken = written.broken > 0 ? `, ${grouped(written.broken)} of which cannot be read` : '';
        context.out(`${output}: ${grouped(written.pictures)} pictures${broken}, [${shape.join(', ')}] each`);
      }
    } finally {
      progress.end();
      teacher.dispose();
    }
    return undefined;
  },
};
