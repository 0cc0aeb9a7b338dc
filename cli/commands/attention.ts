import { AttentionPipeline, meanMap, type Viewer } from '../../beit3/attention/attention.js';
import { overlay, sheet } from '../../beit3/attention/overlay.js';
import { encodePng } from '../../beit3/images/encodePng.js';
import { decodeImage } from '../../beit3/images/index.js';
import { writeFileAtomically } from '../../checkpoints/index.js';
import { InputError } from '../../core/errors.js';
import type { Command } from '../command.js';
import { requireFiles } from '../files.js';
import { modelFlags, modelOptions } from '../models.js';

export const command: Command = {
  usage: [
    'attention IMAGE [--checkpoint FILE] [--layer N] [--head N] [--output FILE.png]',
    'attention IMAGE --text TEXT',
  ],
  about:
    'Draws where a model looks: the picture under colours, red where a layer pays most attention and blue where it pays least, seen from [CLS], from a patch, or from a text that is read together with the picture. The checkpoint is any of BEiT-3, BEiT, BEiT v2 or a VQ-KD tokenizer; only BEiT-3 reads texts.',
  flags: {
    ...modelFlags({ text: true }),
    text: { value: 'TEXT', help: 'A text that is read together with the picture.' },
    from: {
      value: 'WHO',
      help: 'Who looks: cls, text (the mean of its words), or a patch as ROW,COLUMN from 0.',
      default: 'text where there is one, else cls',
    },
    layer: { value: 'N', help: 'Layer from 0; -1 is the last one, -2 the one before.', default: '-1' },
    head: {
      value: 'N',
      help: 'One head from 0, mean for the mean of all, or all for a sheet of them.',
      default: 'mean',
    },
    output: { value: 'FILE.png', help: 'The picture to write.', default: 'the name of IMAGE with -attention.png' },
  },
  examples: [
    'beit3 attention cat.jpg --checkpoint beit3_base_patch16_224_in1k.pth --head all',
    'beit3 attention cat.jpg --text "a cat" --checkpoint beit3_base_patch16_480_coco_captioning.pth',
  ],
  async run(args, context) {
    const [image] = await requireFiles(args.expect(1, 1, 'one image'));
    const text = args.text('text');
    const layer = args.whole('layer', -1024, 1024);
    const from = viewerOf(args.text('from'));
    const head = args.text('head') ?? 'mean';
    if (!/^(mean|all|\d{1,4})$/.test(head))
      throw new InputError(`--head expects a number from 0, mean or all, got ${JSON.stringify(head)}.`);
    const output = args.text('output') ?? `${image.replace(/\.[^./\\]*$/, '')}-attention.png`;
    if (!/\.png$/i.test(output)) throw new InputError(`--output ${output}: expected a name that ends in .png.`);
    const options = await modelOptions('embed', args, context);
    const attention = await AttentionPipeline.create(options, text !== undefined);
    try {
      const maps = await attention.run(image, { text, from, layer });
      const { heads } = maps;
      if (/\d/.test(head) && Number(head) >= heads.length)
        throw new InputError(
          `The model has ${heads.length} heads, 0 to ${heads.length - 1}; there is no head ${head}.`,
        );
      const shown = head === 'mean' ? [meanMap(maps)] : head === 'all' ? heads : [heads[Number(head)]];
      const picture = await decodeImage(image);
      const drawn = sheet(shown.map((map) => overlay(picture, map)));
      const png = await encodePng(drawn);
      await writeFileAtomically(output, (sink) => sink.write(png));
      const { rows, columns } = heads[0];
      if (context.wantsJson) {
        const values = shown.map((map) => [...map.values]);
        context.json({ image, layer: maps.layer, head, rows, columns, maps: values, output });
      } else
        context.out(`${output}: layer ${maps.layer}, ${headName(head, heads.length)}, ${rows} x ${columns} patches`);
    } finally {
      attention.dispose();
    }
    return undefined;
  },
};

function headName(head: string, count: number): string {
  if (head === 'mean') return `the mean of ${count} heads`;
  return head === 'all' ? `${count} heads` : `head ${head}`;
}

function viewerOf(text: string | undefined): Viewer | undefined {
  if (text === undefined || text === 'cls' || text === 'text') return text;
  const [, row, column] = /^(\d{1,4}),(\d{1,4})$/.exec(text) ?? [];
  if (column === undefined)
    throw new InputError(`--from expects cls, text, or a patch as ROW,COLUMN, got ${JSON.stringify(text)}.`);
  return [Number(row), Number(column)];
}
