/**
 * Index files from Karpathy's splits (dataset_coco.json, dataset_flickr30k.json) and from NoCaps, equal to those of
 * the reference byte for byte. What is peculiar about them there, and kept:
 *  - COCO trains on "train" and "restval" together.
 *  - image_id of retrieval counts the distinct images of the split so far, image_id of captioning is COCO's own number.
 *  - Captioning keeps captions for training only; val and test have one row an image, without a text.
 *  - Flickr30k gets a file for every split that its annotation file names, in the order of their first images.
 */
import { InputError } from '../../../core/errors.js';
import { pythonJoin } from '../pythonJson.js';
import type { CaptioningRow, Fields, RetrievalRow } from '../rows.js';
import { type IndexJob, type IndexOptions, type IndexReport, runIndex } from './job.js';

const COCO_FILE = 'dataset_coco.json';
const COCO_WHAT = "Karpathy's split of COCO";
const FLICKR_FILE = 'dataset_flickr30k.json';
const FLICKR_WHAT = "Karpathy's split of Flickr30k";

const COCO_SPLITS: ReadonlyMap<string, readonly string[]> = new Map([
  ['train', ['train', 'restval']],
  ['val', ['val']],
  ['test', ['test']],
]);

/** coco_retrieval.{train,val,test}.jsonl from dataset_coco.json, which lies in `data`. */
export function indexCocoRetrieval(options: IndexOptions): Promise<IndexReport> {
  return indexCoco(options, 'coco_retrieval', (job) => {
    const images = new Set<string>();
    return (item, image_path) => {
      const image_id = images.size;
      images.add(image_path);
      return sentences(job, item, (text_segment) => ({ image_path, text_segment, image_id }));
    };
  });
}

/** coco_captioning.{train,val,test}.jsonl from dataset_coco.json, which lies in `data`. */
export function indexCocoCaptioning(options: IndexOptions): Promise<IndexReport> {
  return indexCoco(options, 'coco_captioning', (job) => (item, image_path, split) => {
    const image_id = item.whole('cocoid');
    if (split !== 'train') return [{ image_path, text_segment: null, image_id }];
    return sentences(job, item, (text_segment) => ({ image_path, text_segment, image_id }));
  });
}

/** `start` is called for each split and gives the function that turns an image into rows. */
async function indexCoco(
  options: IndexOptions,
  task: string,
  start: (job: IndexJob) => (item: Fields, image_path: string, split: string) => CaptioningRow[],
): Promise<IndexReport> {
  return runIndex(options, '', async (job) => {
    const wanted = new Map<string, { rows: CaptioningRow[]; make: ReturnType<typeof start> }>();
    for (const split of COCO_SPLITS.keys()) if (job.wants(split)) wanted.set(split, { rows: [], make: start(job) });
    for await (const item of job.elements(COCO_FILE, 'images', COCO_WHAT)) {
      const name = item.text('split');
      const split = [...wanted.keys()].find((key) => COCO_SPLITS.get(key)?.includes(name));
      if (split === undefined) continue;
      const { rows, make } = wanted.get(split)!;
      rows.push(...make(item, pythonJoin(item.text('filepath'), item.path('filename')), split));
    }
    for (const [split, { rows }] of wanted) await job.write(`${task}.${split}.jsonl`, rows);
  });
}

function sentences<R>(job: IndexJob, item: Fields, row: (ids: number[]) => R): R[] {
  return Array.from(item.objects('sentences'), (sentence) => row(job.ids(sentence.text('raw'))));
}

/** flickr30k.{train,val,test}.jsonl from dataset_flickr30k.json, which lies in `annotations`, else in `data`. */
export function indexFlickr30k(options: IndexOptions): Promise<IndexReport> {
  return runIndex(options, '', async (job) => {
    const splits = new Map<string, { rows: RetrievalRow[]; images: Set<string>; wanted: boolean }>();
    for await (const item of job.elements(FLICKR_FILE, 'images', FLICKR_WHAT)) {
      const filename = item.path('filename');
      const image_path = pythonJoin('flickr30k-images', filename);
      const name = item.text('split');
      let split = splits.get(name);
      if (!split) splits.set(name, (split = { rows: [], images: new Set(), wanted: job.wants(name) }));
      const image_id = split.images.size;
      if (split.images.has(filename)) throw item.refusal(`repeats the image ${JSON.stringify(filename)}`);
      split.images.add(filename);
      if (!split.wanted) continue;
      split.rows.push(...sentences(job, item, (text_segment) => ({ image_path, text_segment, image_id })));
    }
    if (splits.size === 0) throw new InputError(`${await job.annotationPath(FLICKR_FILE)} has no images.`);
    for (const [name, { rows, wanted }] of splits) if (wanted) await job.write(`flickr30k.${name}.jsonl`, rows);
  });
}

const NOCAPS_FILES: ReadonlyMap<string, string> = new Map([
  ['val', 'nocaps_val_4500_captions.json'],
  ['test', 'nocaps_test_image_info.json'],
]);

/** nocaps.{val,test}.jsonl from the two official files, which lie in `data`. Its training data are COCO's captions. */
export function indexNocaps(options: IndexOptions): Promise<IndexReport> {
  return runIndex(options, '', async (job) => {
    for (const [split, file] of NOCAPS_FILES) {
      if (!job.wants(split)) continue;
      const rows: CaptioningRow[] = [];
      for await (const item of job.elements(file, 'images', `the ${split} file of NoCaps`)) {
        const image_path = pythonJoin(split, item.path('file_name'));
        rows.push({ image_path, text_segment: null, image_id: item.whole('id') });
      }
      await job.write(`nocaps.${split}.jsonl`, rows);
    }
  });
}
