import type { Command } from '../command.js';
import { requireFiles } from '../files.js';
import { modelFlags, withPipeline } from '../models.js';

export const command: Command = {
  usage: ['nlvr2 IMAGE IMAGE SENTENCE [--checkpoint FILE] [--tokenizer FILE]'],
  about: 'Judges whether a sentence is true of two images, the left and the right one.',
  flags: modelFlags({ text: true }),
  examples: ['beit3 nlvr2 left.jpg right.jpg "Both images show a dog." --checkpoint beit3_base_patch16_224_nlvr2.pth'],
  async run(args, context) {
    const [left, right, sentence] = args.expect(3, 3, 'two images and a sentence (in quotes)');
    await requireFiles([left, right]);
    await withPipeline('nlvr2', args, context, async (nlvr2) => {
      const { answer, probability } = await nlvr2.run(left, right, sentence);
      if (context.wantsJson) context.json({ images: [left, right], sentence, answer, probability });
      else context.out(`${answer} (probability of true: ${(probability * 100).toFixed(2)}%)`);
    });
  },
};
