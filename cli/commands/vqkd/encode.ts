import { encodeImage } from '../../../beit3/vqkd/encode.js';
import { writeFileAtomically, writeNpy } from '../../../checkpoints/index.js';
import { InputError } from '../../../core/errors.js';
import type { Command } from '../../command.js';
import { imageFiles, requireFiles } from '../../files.js';
import { printable } from '../../format.js';
import { required } from '../../runFlags.js';
import { withTokenizer } from './flags.js';

export const command: Command = {
  usage: ['vqkd encode IMAGE... --tokenizer FILE [--output FILE]'],
  about:
    'Turns pictures (files, or folders of them) into codes, a number for each patch, row by row. As in the official code, the short side is resized to 8/7 of what the tokenizer sees and the middle is cut out. With --output the codes are written: .npy holds int32 [N, rows, columns], .json also the names.',
  flags: {
    tokenizer: { value: 'FILE', help: 'A VQ-KD checkpoint, official or from beit3 vqkd train. Required.' },
    output: { value: 'FILE', help: 'Write there, .npy or .json, instead of printing.' },
  },
  examples: [
    'beit3 vqkd encode photo.jpg --tokenizer vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7.pth',
    'beit3 vqkd encode photos --tokenizer run/model.safetensors --output codes.npy',
  ],
  async run(args, context) {
    const places = args.expect(1, Number.POSITIVE_INFINITY, 'at least one picture');
    const images = await imageFiles(await requireFiles(places));
    const file = required(args, 'tokenizer', 'a VQ-KD checkpoint');
    const output = args.text('output');
    if (output !== undefined && !/\.(npy|json)$/i.test(output))
      throw new InputError(`Cannot tell the format of ${output}: expected a name that ends in .npy or .json.`);
    await withTokenizer(file, context, async (model) => {
      const { grid } = model;
      const results: { image: string; codes: number[][] }[] = [];
      const progress = context.progress('pictures', String);
      for (const image of images) {
        const codes = [...(await encodeImage(model, image))];
        const rows = Array.from({ length: grid }, (_, y) => codes.slice(y * grid, (y + 1) * grid));
        results.push({ image, codes: rows });
        progress.update(results.length, images.length);
      }
      progress.end();
      const shape = [results.length, grid, grid];
      if (output === undefined) {
        if (context.wantsJson) context.json({ shape, results });
        else
          for (const { image, codes } of results) {
            if (results.length > 1) context.out(printable(image));
            const width = String(model.codes - 1).length;
            for (const row of codes) context.out(row.map((code) => String(code).padStart(width)).join(' '));
          }
        return;
      }
      if (/\.json$/i.test(output)) {
        const text = `${JSON.stringify({ shape, results })}\n`;
        await writeFileAtomically(output, (sink) => sink.write(new TextEncoder().encode(text)));
      } else await writeNpy(output, { shape, data: Int32Array.from(results.flatMap(({ codes }) => codes.flat())) });
      if (context.wantsJson) context.json({ output, shape });
      else context.out(`${output}: int32 [${shape.join(', ')}]`);
    });
    return undefined;
  },
};
