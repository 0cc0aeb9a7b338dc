import type { Command } from '../command.js';
import { requireFiles } from '../files.js';
import { printable, table } from '../format.js';
import { modelFlags, TOP, withPipeline } from '../models.js';

export const command: Command = {
  usage: ['vqa IMAGE QUESTION [--checkpoint FILE] [--tokenizer FILE] [--labels FILE]'],
  about:
    'Answers a question about an image. The answer is one of those that the checkpoint was fine-tuned on (3,129 in official ones); --labels names them. Each has a score of its own from 0 to 1.',
  flags: { ...modelFlags({ text: true, labels: true }), ...TOP },
  examples: [
    'beit3 vqa kitchen.jpg "how many cups are there?" --checkpoint beit3_base_patch16_480_vqa.pth --labels answer2label.txt',
  ],
  async run(args, context) {
    const [image, question] = args.expect(2, 2, 'an image and a question (in quotes)');
    await requireFiles([image]);
    const top = args.whole('top', 1, 1e6);
    await withPipeline('vqa', args, context, async (vqa) => {
      const answers = await vqa.run(image, question, { top });
      if (context.wantsJson) context.json({ image, question, answers });
      else context.out(table(answers.map(({ answer, score }) => [score.toFixed(4), printable(answer)])));
    });
  },
};
