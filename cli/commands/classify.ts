import type { Command } from '../command.js';
import { requireFiles } from '../files.js';
import { printable, table } from '../format.js';
import { modelFlags, TOP, withPipeline } from '../models.js';

export const command: Command = {
  usage: ['classify IMAGE... [--checkpoint FILE] [--labels FILE]'],
  about:
    'Says what images show, with probabilities. The checkpoint is one fine-tuned for image classification: a BEiT-3, of which only the vision half of the weights is loaded, a BEiT or a BEiT v2.',
  flags: { ...modelFlags({ labels: true }), ...TOP },
  examples: ['beit3 classify cat.jpg --checkpoint beit3_base_patch16_224_in1k.pth --labels imagenet.txt'],
  async run(args, context) {
    const images = await requireFiles(args.expect(1, Number.POSITIVE_INFINITY, 'at least one image'));
    const top = args.whole('top', 1, 1e6);
    await withPipeline('classify', args, context, async (classify) => {
      const results: object[] = [];
      for (const image of images) {
        const classes = await classify.run(image, { top });
        results.push({ image, classes });
        if (context.wantsJson) continue;
        if (images.length > 1) context.out(`${printable(image)}:`);
        context.out(
          table(classes.map(({ label, probability }) => [`${(probability * 100).toFixed(2)}%`, printable(label)])),
        );
      }
      if (context.wantsJson) context.json({ results });
    });
  },
};
