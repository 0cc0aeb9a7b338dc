import { type DataReport, evaluateDataSet } from '../../beit3/evaluate/dataSet.js';
import { type ComparedMetric, compareMetrics } from '../../beit3/evaluate/expected.js';
import { captionSubmission, vqaSubmission } from '../../beit3/metrics/index.js';
import { writeFileAtomically } from '../../checkpoints/index.js';
import type { Command, Context } from '../command.js';
import { EVALUATION_TASKS, type EvaluationJob, prepareEvaluation } from '../evaluation.js';
import { duration, grouped, printable, table } from '../format.js';
import { modelFlags } from '../models.js';

export const command: Command = {
  usage: [
    'evaluate TASK --data DIR [--checkpoint FILE] [--split NAME] [--batch-size N]',
    'evaluate TASK --data DIR --checkpoint FILE --expect[=NAME]',
    'evaluate vqav2|coco_captioning|nocaps --data DIR --checkpoint FILE --submission FILE',
  ],
  about: `Measures a model by the official protocol of a task: ${EVALUATION_TASKS.join(', ')}. DIR holds the images and the index files that beit3 index makes, of official data sets or of your own. Numbers are per cent; captions are compared by BLEU, ROUGE-L and CIDEr-D (METEOR and SPICE need Java programs and are left out). What a test split keeps secret goes into a file for the evaluation server with --submission.`,
  flags: {
    ...modelFlags({ text: true }),
    data: { value: 'DIR', help: 'The folder of the images and of the index files. Required.' },
    index: { value: 'DIR', help: 'The folder of the index files.', default: 'the folder of --data' },
    split: { value: 'NAME', help: 'val, test, or for vqav2 test-dev.', default: 'test' },
    'batch-size': {
      value: 'N',
      help: 'Samples at a time; the numbers do not depend on it.',
      default: '16 at 224 pixels, 4 at 480',
    },
    annotations: {
      value: 'FILE',
      help: "What people said: captions in COCO's format or Karpathy's dataset_coco.json; for vqav2 v2_mscoco_val2014_annotations.json, for accuracy by ten annotators.",
      default: 'for captions what lies in DIR',
    },
    submission: { value: 'FILE', help: 'Where to write answers or captions as the evaluation servers take them.' },
    expect: {
      value: 'NAME',
      optional: true,
      help: 'Compare with what was published of this official checkpoint; ends with 1 if the model is worse.',
      default: 'the name of the file of --checkpoint',
    },
    tolerance: { value: 'POINTS', help: 'By how much --expect lets a result be worse.', default: '0.1' },
    'num-beams': { value: 'N', help: 'Captions followed at a time.', default: '3' },
    'length-penalty': { value: 'X', help: 'Larger favours longer captions.', default: '0.6' },
    'num-max-bpe-tokens': {
      value: 'N',
      help: 'Tokens of a text at most: longer ones are cut, and captions end there.',
      default: '64',
    },
    'crop-pct': {
      value: 'X',
      help: 'For imagenet: the part of the short side that is looked at.',
      default: '1; of BEiT below 384 pixels 0.875',
    },
    'reference-compatible': {
      help: 'For --split val: load as the validation of the reference does, with random crops, in random order and without a last batch that is not full.',
    },
    randaug: { help: 'With --reference-compatible: RandAugment too, as when training vqav2 and nlvr2.' },
    seed: { value: 'N', help: 'With --reference-compatible: from what crops and order are drawn.', default: '0' },
    workers: { value: 'N', help: 'Threads that load images.', default: 'one less than cores, at most 8' },
    'skip-broken': { help: 'Pass over images that cannot be read, and count them.' },
    limit: { value: 'N', help: 'Only the first N samples, for a quick look.' },
  },
  examples: [
    'beit3 evaluate nlvr2 --checkpoint beit3_base_patch16_224_nlvr2.pth --data nlvr2 --expect',
    'beit3 evaluate vqav2 --checkpoint beit3_base_patch16_480_vqa.pth --data coco --split test-dev --submission answers.json',
    'beit3 evaluate coco_captioning --checkpoint output/model.safetensors --data photos --split val',
    'beit3 evaluate coco_retrieval --data emoji',
  ],
  async run(args, context) {
    args.expect(1, 1, `a task (${EVALUATION_TASKS.join(', ')})`);
    const job = await prepareEvaluation(args, context);
    const begun = Date.now();
    let report: DataReport;
    try {
      let done = 0;
      const timeLeft = (total: number): string => {
        const seconds = (Date.now() - begun) / 1000;
        return done === 0 ? '' : `, ${duration((seconds / done) * (total - done))} left`;
      };
      const line = context.progress('evaluating', (total) => `${grouped(total)}${timeLeft(total)}`);
      report = await evaluateDataSet(job.samples, job.model, job.config, {
        ...job.options,
        onProgress: (samples) => {
          done = samples;
          line.update(done, job.total);
        },
        onSkip: ({ where, reason }) => context.note(`skipped ${printable(where)}: ${printable(reason)}`),
      });
      line.end();
    } finally {
      job.model.dispose();
    }
    const compared = job.published ? compareMetrics(report.metrics, job.published.metrics, job.tolerance) : null;
    if (job.submission !== undefined) await writeSubmission(job.submission, job, report);
    const seconds = (Date.now() - begun) / 1000;
    const notes = [...job.notes, ...report.notes];
    if (report.skipped > 0) notes.push(`${grouped(report.skipped)} samples were skipped: their images cannot be read.`);
    show(context, job, { ...report, notes }, compared, seconds);
    return compared?.some(({ ok }) => !ok) ? 1 : 0;
  },
};

/** Answers or captions as JSON, as the reference writes them; the file appears whole or not at all. */
async function writeSubmission(path: string, { task }: EvaluationJob, { predictions }: DataReport): Promise<void> {
  const content = task === 'vqav2' ? vqaSubmission(predictions ?? []) : captionSubmission(predictions ?? []);
  const bytes = new TextEncoder().encode(`${JSON.stringify(content, null, 2)}\n`);
  await writeFileAtomically(path, (sink) => sink.write(bytes));
}

function show(
  context: Context,
  job: EvaluationJob,
  report: DataReport,
  compared: readonly ComparedMetric[] | null,
  seconds: number,
): void {
  const { name, split, checkpoint, submission, published, tolerance } = job;
  const { metrics, key, samples, skipped, notes } = report;
  if (context.wantsJson) {
    const expected = compared && {
      name: published?.name,
      tolerance,
      ok: compared.every(({ ok }) => ok),
      metrics: compared,
    };
    context.json({
      task: name,
      split,
      checkpoint,
      samples,
      skipped,
      seconds,
      key,
      metrics,
      expected,
      submission,
      notes,
    });
    return;
  }
  context.out(`${name} ${split}: ${grouped(samples)} ${UNITS[job.task]} in ${duration(seconds)}`);
  const rows = Object.entries(metrics).map(([metric, value]) => [metric, value.toFixed(2)]);
  if (rows.length > 0) context.out(table(rows));
  if (compared) {
    context.out(`beside ${published?.name}, as published (worse by ${tolerance} at most):`);
    context.out(table(compared.map(comparison)));
  }
  if (submission !== undefined)
    context.out(`${grouped(report.predictions?.length ?? 0)} results in ${printable(submission)}`);
  for (const note of notes) context.out(printable(note));
}

const UNITS = {
  imageclassification: 'images',
  vqav2: 'questions',
  nlvr2: 'pairs of images',
  captioning: 'images',
  retrieval: 'texts',
} as const;

function comparison({ name, measured, published, difference, ok }: ComparedMetric): string[] {
  const sign = difference >= 0 ? '+' : '';
  return [ok ? 'ok' : 'WORSE', name, measured.toFixed(2), String(published), `${sign}${difference.toFixed(2)}`];
}
