/**
 * Index files of NLVR2, equal to those of the reference byte for byte. What is peculiar about them there, and kept:
 *  - The images of the public test split lie in test1/, its file is called test-P.
 *  - Both images are named after the sentence's identifier without its last part; only training has subfolders.
 */
import { pythonJoin } from '../pythonJson.js';
import type { Fields } from '../rows.js';
import { type IndexOptions, type IndexReport, runIndex } from './job.js';

const SPLITS = [
  { split: 'train', images: 'images/train', file: 'train.json', index: 'nlvr2.train.index.jsonl' },
  { split: 'dev', images: 'dev', file: 'dev.json', index: 'nlvr2.dev.index.jsonl' },
  { split: 'test-P', images: 'test1', file: 'test1.json', index: 'nlvr2.test-P.index.jsonl' },
] as const;

/** Three files from nlvr2/data/{train,dev,test1}.json of the NLVR repository: `annotations`, else nlvr/ in `data`. */
export function indexNlvr2(options: IndexOptions): Promise<IndexReport> {
  return runIndex(options, 'nlvr', async (job) => {
    for (const { split, images, file, index } of SPLITS) {
      if (!job.wants(split)) continue;
      const rows = [];
      for await (const line of job.lines(`nlvr2/data/${file}`, `the ${split} sentences of NLVR2`)) {
        const identifier = line.path('identifier');
        const folder = line.has('directory') ? pythonJoin(images, directory(line)) : images;
        const path = pythonJoin(folder, identifier.split('-').slice(0, -1).join('-'));
        rows.push({
          image_path: `${path}-img0.png`,
          image2_path: `${path}-img1.png`,
          text_segment: job.ids(line.text('sentence')),
          label: truth(line),
          identifier,
        });
      }
      await job.write(index, rows);
    }
  });
}

function directory(line: Fields): string {
  return typeof line.value('directory') === 'string' ? line.text('directory') : String(line.whole('directory'));
}

/** The reference would take a JSON true for false, silently; such a file is refused instead. */
function truth(line: Fields): number {
  const label = line.value('label');
  if (label === 'True') return 1;
  return label === 'False' ? 0 : line.expected('label', '"True" or "False"');
}
