/**
 * Contents of the files that the evaluation servers take, to be written as JSON: those of the reference. Where an id comes
 * twice, as from a last batch that was filled up, its first result counts.
 */

/** For VQA v2: answers by the question's id. */
export function vqaSubmission(answers: Iterable<readonly [id: number, answer: string]>) {
  return firstOf(answers).map(([question_id, answer]) => ({ question_id, answer }));
}

/** For COCO and NoCaps: captions by the image's id. */
export function captionSubmission(captions: Iterable<readonly [id: number, caption: string]>) {
  return firstOf(captions).map(([image_id, caption]) => ({ image_id, caption }));
}

function firstOf(results: Iterable<readonly [number, string]>): [number, string][] {
  const first = new Map<number, string>();
  for (const [id, text] of results) if (!first.has(id)) first.set(id, text);
  return [...first];
}
