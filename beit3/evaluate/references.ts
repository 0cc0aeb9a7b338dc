/** What people wrote and answered, from the files in which data sets keep it. Node only. */
import { InputError } from '../../core/errors.js';
import { readJsonArray } from '../data/jsonArray.js';
import type { ReadProgress } from '../data/jsonl.js';
import { Fields } from '../data/rows.js';
import { type AnnotatedQuestion, annotatedQuestion } from '../metrics/vqaAnnotators.js';

const CAPTIONS = "captions in COCO's format or Karpathy's split";
const ANSWERS = 'the annotations of VQA, such as v2_mscoco_val2014_annotations.json';

/** The pictures whose references are wanted, by id. */
export type Wanted = ReadonlySet<number>;

/**
 * The captions of the wanted pictures, by id: from an annotation file in COCO's format (captions_val2014.json,
 * coco_karpathy_test_gt.json, nocaps_val_4500_captions.json) or from Karpathy's dataset_coco.json. The file is read as
 * a stream. Throws InputError for another file, and where a picture has no caption.
 */
export async function readCaptionReferences(
  path: string,
  wanted: Wanted,
  onProgress?: ReadProgress,
): Promise<Map<number, string[]>> {
  const found = new Map<number, string[]>();
  const add = (id: number, caption: string): void => {
    if (!wanted.has(id)) return;
    const own = found.get(id);
    if (own) own.push(caption);
    else found.set(id, [caption]);
  };
  if (await isKarpathy(path)) {
    for await (const { value, index } of readJsonArray(path, 'images', CAPTIONS, onProgress)) {
      const image = new Fields(value, path, `images[${index}]`);
      const id = image.whole('cocoid');
      if (wanted.has(id)) for (const sentence of image.objects('sentences')) add(id, sentence.text('raw'));
    }
  } else {
    for await (const { value, index } of readJsonArray(path, 'annotations', CAPTIONS, onProgress)) {
      const annotation = new Fields(value, path, `annotations[${index}]`);
      add(annotation.whole('image_id'), annotation.text('caption'));
    }
  }
  for (const id of wanted) {
    if (!found.has(id)) {
      throw new InputError(
        `${path} has no caption of image ${id}, nor of ${wanted.size - found.size - 1} others of ${wanted.size} to be compared; give the captions of these pictures.`,
      );
    }
  }
  return found;
}

/** Karpathy's files keep the captions with each picture. */
async function isKarpathy(path: string): Promise<boolean> {
  try {
    for await (const { value } of readJsonArray(path, 'images', CAPTIONS))
      return typeof value === 'object' && value !== null && 'sentences' in value;
  } catch (error) {
    // A file of annotations alone is one too; what is wrong with others is said when those are read.
    if (!(error instanceof InputError)) throw error;
  }
  return false;
}

/**
 * What people answered to the wanted questions, from an annotation file of VQA, which is read as a stream; `total` counts
 * all questions in it. Throws InputError for another file, and where a question is not in it.
 */
export async function readAnsweredQuestions(
  path: string,
  wanted: Wanted,
  onProgress?: ReadProgress,
): Promise<{ questions: AnnotatedQuestion[]; total: number }> {
  const questions = new Map<number, AnnotatedQuestion>();
  let total = 0;
  for await (const { value, index } of readJsonArray(path, 'annotations', ANSWERS, onProgress)) {
    const question = annotatedQuestion(value, `annotations[${index}] of ${path}`);
    total++;
    if (wanted.has(question.id)) questions.set(question.id, question);
  }
  for (const id of wanted) {
    if (!questions.has(id)) {
      throw new InputError(
        `${path} has no answers to question ${id}, nor to ${wanted.size - questions.size - 1} others of ${wanted.size} that are asked; give the annotations of this split.`,
      );
    }
  }
  return { questions: [...questions.values()], total };
}
