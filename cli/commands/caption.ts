import type { Command } from '../command.js';
import { requireFiles } from '../files.js';
import { printable } from '../format.js';
import { modelFlags, withPipeline } from '../models.js';

export const command: Command = {
  usage: ['caption IMAGE... [--checkpoint FILE] [--tokenizer FILE]'],
  about: 'Describes images in words, by beam search.',
  flags: {
    ...modelFlags({ text: true }),
    beams: { value: 'N', help: 'Hypotheses kept at a time; 1 is greedy search.', default: '3' },
    'max-length': { value: 'N', help: 'Tokens at most, start and end included.', default: '20' },
    'length-penalty': { value: 'X', help: 'Larger favours longer captions.', default: '0.6' },
  },
  examples: ['beit3 caption photos/*.jpg --checkpoint beit3_base_patch16_480_coco_captioning.pth --beams 5'],
  async run(args, context) {
    const images = await requireFiles(args.expect(1, Number.POSITIVE_INFINITY, 'at least one image'));
    const beams = args.whole('beams', 1, 64);
    const maxLength = args.whole('max-length', 3, 1 << 20);
    const lengthPenalty = args.number('length-penalty', -10, 10);
    await withPipeline('caption', args, context, async (caption) => {
      const results: object[] = [];
      for (const image of images) {
        const { text, score, ids } = await caption.run(image, { beams, maxLength, lengthPenalty });
        results.push({ image, text, score, ids });
        if (!context.wantsJson)
          context.out(images.length > 1 ? `${printable(image)}: ${printable(text)}` : printable(text));
      }
      if (context.wantsJson) context.json({ results });
    });
  },
};
