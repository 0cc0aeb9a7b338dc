import { pipeline } from '../../beit3/pipeline/index.js';
import { writeFileAtomically, writeNpy } from '../../checkpoints/index.js';
import { InputError } from '../../core/errors.js';
import type { Command } from '../command.js';
import { requireFiles } from '../files.js';
import { modelFlags, modelOptions } from '../models.js';

interface Row {
  readonly image?: string;
  readonly text?: string;
  readonly vectors: readonly Float32Array[];
}

export const command: Command = {
  usage: [
    'embed IMAGE... [--checkpoint FILE]',
    'embed --text TEXT [--text TEXT]... [--checkpoint FILE]',
    'embed IMAGE --text TEXT [--checkpoint FILE]',
  ],
  about:
    'Turns N images or texts into vectors, float32 [N, D]; images together with as many texts are pairs, [N, 2, D] (image, text). A retrieval checkpoint gives unit vectors to compare by dot product; of any other come the encoder outputs at [CLS] and <s>, and a pair is read together.',
  flags: {
    ...modelFlags({ text: true }),
    text: { value: 'TEXT', help: 'A text to embed.', many: true },
    output: { value: 'FILE', help: 'Write there, .npy or .json, instead of JSON on stdout.' },
  },
  examples: ['beit3 embed photos/*.jpg --checkpoint beit3_base_patch16_384_coco_retrieval.pth --output photos.npy'],
  async run(args, context) {
    const texts = args.texts('text');
    const images = await requireFiles(
      args.expect(texts.length > 0 ? 0 : 1, Number.POSITIVE_INFINITY, 'at least one image or --text'),
      texts.length > 0 ? '; a text needs a --text of its own' : '',
    );
    if (images.length > 0 && texts.length > 0 && images.length !== texts.length) {
      throw new InputError(
        `Images and texts together are pairs, but there are ${images.length} and ${texts.length}; give as many of each, or embed them apart.`,
      );
    }
    const output = args.text('output');
    if (output !== undefined && !/\.(npy|json)$/i.test(output)) {
      throw new InputError(`Cannot tell the format of ${output}: expected a name that ends in .npy or .json.`);
    }
    const inputs = texts.length === 0 ? 'image' : images.length === 0 ? 'text' : 'both';
    const embed = await pipeline('embed', { ...(await modelOptions('embed', args, context)), inputs });
    const rows: Row[] = [];
    const { dimension } = embed;
    try {
      const progress = context.progress('reading', String);
      const count = Math.max(images.length, texts.length);
      for (let i = 0; i < count; i++) {
        const image = images[i];
        const text = texts[i];
        const found: { image?: Float32Array; text?: Float32Array } = await (inputs === 'image'
          ? embed.run({ image })
          : inputs === 'text'
            ? embed.run({ text })
            : embed.run({ image, text }));
        rows.push({ image, text, vectors: [found.image, found.text].filter((v) => v !== undefined) });
        progress.update(i + 1, count);
      }
      progress.end();
    } finally {
      embed.dispose();
    }
    const shape = inputs === 'both' ? [rows.length, 2, dimension] : [rows.length, dimension];
    const described = {
      shape,
      results: rows.map(({ image, text, vectors }) => {
        const numbers = vectors.map((v) => Array.from(v));
        return {
          image,
          text,
          ...(inputs === 'both' ? { imageVector: numbers[0], textVector: numbers[1] } : { vector: numbers[0] }),
        };
      }),
    };
    if (output === undefined) {
      context.json(described);
      return;
    }
    if (/\.json$/i.test(output)) {
      await writeFileAtomically(output, (sink) =>
        sink.write(new TextEncoder().encode(`${JSON.stringify(described)}\n`)),
      );
    } else {
      const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
      for (const [i, vector] of rows.flatMap(({ vectors }) => vectors).entries()) data.set(vector, i * dimension);
      await writeNpy(output, { shape, data });
    }
    if (context.wantsJson) context.json({ output, shape });
    else context.out(`${output}: float32 [${shape.join(', ')}]`);
  },
};
