/**
 * Writes a tiny training run for train.py to standard output, or trains it here and writes the losses as lines of JSON:
 *
 *     node dist/test/reference/batches.js vqav2 | python test/reference/train.py --beit3 ... --torchscale ...
 *     node dist/test/reference/batches.js vqav2 --train
 */
import '../../autograd/index.js';
import { useBackend } from '../../backends/index.js';
import { trainingFrames, writeFrames } from './stream.js';
import { COURSES, type Course, tinyModel, tinyRun, tinySteps, trainTiny } from './tiny.js';

const [course, flag] = process.argv.slice(2);
if (!COURSES.includes(course as Course)) {
  console.error(`usage: batches.js ${COURSES.join('|')} [--train]`);
  process.exit(2);
}
const chosen = course as Course;
const backend = await useBackend('wasm', { threads: 1 });
if (flag === '--train') {
  const losses = await trainTiny(chosen, tinyModel(chosen, backend));
  losses.forEach((values, step) => {
    for (const loss of values) console.log(JSON.stringify({ step, loss }));
  });
} else await writeFrames(trainingFrames(tinyRun(chosen), tinyModel(chosen, backend), tinySteps(chosen)));
await backend.dispose();
