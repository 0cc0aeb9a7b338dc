/**
 * Index files of VQAv2 and answer2label.txt, equal to those of the reference byte for byte. What is peculiar about them
 * there, and kept:
 *  - Answers are the normalised most frequent answers of train and val together that occur nine times or more, numbered
 *    in the order of their first occurrence; the ten answers of a question are looked up as they are written.
 *  - An answer given once, twice, three times or more often scores 0.3, 0.6, 0.9, 1.0.
 *  - Questions of train and val without any known answer are left out.
 *  - Rows go by the image files that exist, in shuffled order. The reference does not fix the seed; a run of it after
 *    random.seed(N), with its file list sorted, gives the rows that `seed` N gives here.
 *  - vqa.val is split into 1,000 random images (rest_val, for validation) and all others (trainable_val, for training).
 */
import { InputError, messageOf } from '../../../core/errors.js';
import { normalizeAnswer } from '../../metrics/answers.js';
import { byCodePoint } from '../pythonJson.js';
import { PythonRandom } from '../pythonRandom.js';
import type { VqaRow } from '../rows.js';
import { type IndexJob, type IndexOptions, type IndexReport, runIndex } from './job.js';

const LEAST_OCCURRENCES = 9;
const VALIDATION_IMAGES = 1000;

const SPLITS = [
  { split: 'train', images: 'train2014', subset: 'train2014', annotated: true },
  { split: 'val', images: 'val2014', subset: 'val2014', annotated: true },
  { split: 'test', images: 'test2015', subset: 'test2015', annotated: false },
  { split: 'test-dev', images: 'test2015', subset: 'test-dev2015', annotated: false },
] as const;

interface Question {
  readonly ids: readonly number[];
  labels?: readonly number[];
  scores?: readonly number[];
}

/** Image -> its questions by their numbers, in the order of the file. */
type Questions = Map<number, Map<number, Question>>;

/**
 * vqa.{train,val,test,test-dev,trainable_val,rest_val}.jsonl and answer2label.txt, from the six official files in
 * `annotations`, else in vqa/ in `data`.
 */
export function indexVqav2(options: IndexOptions): Promise<IndexReport> {
  if (options.splits)
    throw new InputError('VQAv2 is indexed as a whole: its answers are counted over train and val; leave out --split.');
  return runIndex(options, 'vqa', async (job) => {
    const answers = options.answers ?? (await commonAnswers(job));
    const numbers = new Map(answers.map((answer, i) => [answer, i]));
    let valRows: readonly VqaRow[] = [];
    const random = new PythonRandom(options.seed ?? 0);
    for (const { split, images, subset, annotated } of SPLITS) {
      const questions = await readQuestions(job, subset);
      if (annotated) {
        await addLabels(job, subset, questions, numbers);
        dropUnanswered(questions);
      }
      const rows = await rowsOf(job, images, questions, random);
      await job.write(`vqa.${split}.jsonl`, rows);
      if (rows.length === 0) job.notes.push(`vqa.${split}.jsonl is empty: ${images}/ has no image with a question.`);
      if (split === 'val') valRows = rows;
    }
    await splitValidation(job, valRows, random);
    await writeAnswers(job, answers);
  });
}

/** answer2label.txt, as the reference writes and reads it. */
export async function writeAnswers(job: IndexJob, answers: readonly string[]): Promise<void> {
  const writer = await job.open('answer2label.txt');
  for (const [label, answer] of answers.entries()) await writer.write({ answer, label });
}

async function commonAnswers(job: IndexJob): Promise<string[]> {
  const counts = new Map<string, number>();
  for (const { subset, annotated } of SPLITS) {
    if (!annotated) continue;
    for await (const item of job.elements(annotationFile(subset), 'annotations', `the ${subset} answers of VQAv2`)) {
      const answer = normalizeAnswer(item.text('multiple_choice_answer'));
      counts.set(answer, (counts.get(answer) ?? 0) + 1);
    }
  }
  return [...counts].filter(([, count]) => count >= LEAST_OCCURRENCES).map(([answer]) => answer);
}

function annotationFile(subset: string): string {
  return `v2_mscoco_${subset}_annotations.json`;
}

async function readQuestions(job: IndexJob, subset: string): Promise<Questions> {
  const questions: Questions = new Map();
  const file = `v2_OpenEnded_mscoco_${subset}_questions.json`;
  for await (const item of job.elements(file, 'questions', `the ${subset} questions of VQAv2`)) {
    const image = item.whole('image_id');
    const number = item.whole('question_id');
    let ofImage = questions.get(image);
    if (!ofImage) questions.set(image, (ofImage = new Map()));
    if (ofImage.has(number)) throw item.refusal(`repeats the question ${number} of image ${image}`);
    ofImage.set(number, { ids: job.ids(item.text('question')) });
  }
  return questions;
}

async function addLabels(
  job: IndexJob,
  subset: string,
  questions: Questions,
  numbers: ReadonlyMap<string, number>,
): Promise<void> {
  for await (const item of job.elements(annotationFile(subset), 'annotations', `the ${subset} answers of VQAv2`)) {
    const number = item.whole('question_id');
    const question = questions.get(item.whole('image_id'))?.get(number);
    if (!question) throw item.refusal(`answers the question ${number}, which the ${subset} questions do not have`);
    if (question.labels) throw item.refusal(`answers the question ${number} a second time`);
    const counts = new Map<string, number>();
    for (const given of item.objects('answers')) {
      const answer = given.text('answer');
      counts.set(answer, (counts.get(answer) ?? 0) + 1);
    }
    const known = [...counts].filter(([answer]) => numbers.has(answer));
    question.labels = known.map(([answer]) => numbers.get(answer)!);
    question.scores = known.map(([, count]) => vqaLabelScore(count));
  }
  for (const [image, ofImage] of questions) {
    for (const [number, { labels }] of ofImage) {
      if (labels) continue;
      throw new InputError(
        `${await job.annotationPath(annotationFile(subset))} has no answers to the question ${number} of image ${image}; questions and answers must be of the same release.`,
      );
    }
  }
}

/** What an answer is worth that so many annotators gave. */
export function vqaLabelScore(count: number): number {
  return [0, 0.3, 0.6, 0.9][count] ?? 1;
}

function dropUnanswered(questions: Questions): void {
  for (const [image, ofImage] of questions) {
    for (const [number, { labels }] of ofImage) if (labels?.length === 0) ofImage.delete(number);
    if (ofImage.size === 0) questions.delete(image);
  }
}

async function rowsOf(job: IndexJob, folder: string, questions: Questions, random: PythonRandom): Promise<VqaRow[]> {
  const files = await jpegs(job, folder);
  random.shuffle(files);
  const rows: VqaRow[] = [];
  for (const file of files) {
    for (const [qid, { ids, labels = [], scores = [] }] of questions.get(imageNumber(folder, file)) ?? [])
      rows.push({ image_path: `${folder}/${file}`, text_segment: ids, labels, scores, qid });
  }
  return rows;
}

/** The image files of a folder in order; none when it does not exist, as in the reference. */
async function jpegs(job: IndexJob, folder: string): Promise<string[]> {
  const { readdir } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const path = join(job.options.data, folder);
  const names = await readdir(path).catch((error: unknown) => {
    if ((error as { code?: string }).code === 'ENOENT') return [];
    throw new InputError(`Cannot read the folder ${path}: ${messageOf(error)}.`);
  });
  return names.filter((name) => name.endsWith('.jpg') && !name.startsWith('.')).sort(byCodePoint);
}

/** COCO_train2014_000000000009.jpg is image 9. */
function imageNumber(folder: string, file: string): number {
  const digits = /(?:^|_)(\d{1,15})\.jpg$/.exec(file)?.[1];
  if (digits !== undefined) return Number(digits);
  throw new InputError(
    `${folder}/${file} is not named as COCO's images are; expected a name such as COCO_${folder}_000000000009.jpg.`,
  );
}

async function splitValidation(job: IndexJob, rows: readonly VqaRow[], random: PythonRandom): Promise<void> {
  const ofImage = new Map<string, VqaRow[]>();
  for (const row of rows) {
    const known = ofImage.get(row.image_path);
    if (known) known.push(row);
    else ofImage.set(row.image_path, [row]);
  }
  const images = [...ofImage.keys()];
  random.shuffle(images);
  const rowsFrom = (some: readonly string[]): VqaRow[] => some.flatMap((image) => ofImage.get(image)!);
  await job.write('vqa.trainable_val.jsonl', rowsFrom(images.slice(VALIDATION_IMAGES)));
  await job.write('vqa.rest_val.jsonl', rowsFrom(images.slice(0, VALIDATION_IMAGES)));
}
