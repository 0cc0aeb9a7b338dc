import { InputError } from '../../core/errors.js';
import { type AnnotatedQuestion, vqaAnnotatorAccuracy } from '../metrics/index.js';
import { valuesOf } from '../pipeline/session.js';
import { backendOf } from '../tasks/inputs.js';
import { vqaLogits } from '../tasks/vqav2.js';
import { type EvaluationReport, type Evaluator, expectSamples } from './report.js';

/** Soft accuracy from the labels, accuracy by the ten-annotator protocol, and the answers. */
export const evaluateVqa: Evaluator<'vqav2'> = async (model, batches, { answers, annotations }) => {
  if (annotations && !answers)
    throw new InputError('The annotations of VQA are compared with the words of answers; give the list of answers.');
  const backend = backendOf(model);
  const chosen = new Map<number, number>();
  let samples = 0;
  let scored = 0;
  let score = 0;
  for await (const batch of batches) {
    const logits = await valuesOf(backend, () => vqaLogits(model, batch));
    const classes = logits.length / batch.size;
    if (answers && answers.length !== classes) {
      throw new InputError(
        `There are ${answers.length} answers in the list, but the model tells ${classes} apart; give the list it was trained with.`,
      );
    }
    for (const [b, id] of batch.questionIds.entries()) {
      const best = argmax(logits, b * classes, classes);
      if (batch.scores) {
        score += batch.scores[b * classes + best];
        scored++;
      }
      if (!chosen.has(id)) chosen.set(id, best);
    }
    samples += batch.size;
  }
  expectSamples(samples, 'questions');
  const metrics: Record<string, number> = scored > 0 ? { score: (100 * score) / scored } : {};
  const predictions = answers ? Array.from(chosen, ([id, best]) => [id, answers[best]] as const) : null;
  const notes: string[] = [];
  if (annotations && predictions) Object.assign(metrics, byAnnotators(predictions, annotations, notes));
  const key = annotations ? 'overall' : scored > 0 ? 'score' : null;
  return { metrics, key, samples, predictions, notes };
};

function byAnnotators(
  predictions: NonNullable<EvaluationReport['predictions']>,
  annotations: readonly AnnotatedQuestion[],
  notes: string[],
): Record<string, number> {
  const given = new Map(predictions);
  const asked = annotations.filter(({ id }) => given.has(id));
  const { overall, perAnswerType, questions } = vqaAnnotatorAccuracy(given, asked);
  if (questions < annotations.length)
    notes.push(`The annotations are of ${annotations.length} questions, of which ${questions} were asked.`);
  return { overall, ...perAnswerType };
}

function argmax(values: Float32Array, from: number, count: number): number {
  let best = 0;
  for (let i = 1; i < count; i++) if (values[from + i] > values[from + best]) best = i;
  return best;
}
