import type { Command } from '../command.js';
import { imageFiles, requireFiles } from '../files.js';
import { printable, table } from '../format.js';
import { modelFlags, withPipeline } from '../models.js';

export const command: Command = {
  usage: ['retrieve TEXT IMAGE-OR-FOLDER... [--checkpoint FILE]', 'retrieve --image IMAGE TEXT... [--checkpoint FILE]'],
  about:
    'Ranks images by how well they fit a text, or texts by how well they fit an image: cosine similarity, -1 to 1. Of a folder all images in it are taken.',
  flags: {
    ...modelFlags({ text: true }),
    image: { value: 'FILE', help: 'Rank texts for this image.' },
    top: { value: 'N', help: 'Results to print.', default: 'all' },
  },
  examples: [
    'beit3 retrieve "a dog in the snow" photos/ --checkpoint beit3_base_patch16_384_coco_retrieval.pth --top 5',
    'beit3 retrieve --image dog.jpg "a dog" "a cat" --checkpoint beit3_base_patch16_384_coco_retrieval.pth',
  ],
  async run(args, context) {
    const top = args.whole('top', 1, 1e9);
    const image = args.text('image');
    const words = args.expect(
      image ? 1 : 2,
      Number.POSITIVE_INFINITY,
      image ? 'at least one text' : 'a text (in quotes) and at least one image or folder',
    );
    const [text, ...places] = words;
    const images = image === undefined ? await imageFiles(places) : await requireFiles([image]);
    await withPipeline('retrieve', args, context, async (retrieve) => {
      const progress = context.progress('reading', String);
      const options = { top, onProgress: (done: number, total: number) => progress.update(done, total) };
      const matches = await (image === undefined
        ? retrieve.run({ text, images }, options)
        : retrieve.run({ image, texts: words }, options)
      ).finally(() => progress.end());
      if (!context.wantsJson) {
        context.out(table(matches.map(({ similarity, candidate }) => [similarity.toFixed(4), printable(candidate)])));
      } else {
        const kind = image === undefined ? 'image' : 'text';
        const results = matches.map(({ candidate, index, similarity }) => ({ [kind]: candidate, index, similarity }));
        context.json(image === undefined ? { text, results } : { image, results });
      }
    });
  },
};
