/**
 * Writes what beit.py reads:
 *
 *     node dist/test/reference/beit.js classifier      weights, settings and batches as frames (see stream.ts)
 *     node dist/test/reference/beit.js pretrained
 *     node dist/test/reference/beit.js exports FOLDER  exports of both after their training
 */
import { useBackend } from '../../backends/index.js';
import { frame, writeFrames } from './stream.js';
import {
  BEIT_RATES,
  BEIT_SETTINGS,
  BEIT_STEPS,
  CLASSIFIER,
  classifierBatch,
  exportTinyBeit,
  maskedBatch,
  PRETRAINED,
  tinyClassifier,
  tinyPretrained,
} from './tinyBeit.js';

const [what, folder] = process.argv.slice(2);
const backend = await useBackend('wasm', { threads: 1 });

async function* frames(): AsyncGenerator<Uint8Array> {
  const isClassifier = what === 'classifier';
  const model = isClassifier ? tinyClassifier(backend) : tinyPretrained(backend);
  const state: [string, Float32Array, readonly number[]][] = [];
  for (const [name, t] of model.namedTensors()) state.push([name, (await t.data()) as Float32Array, t.shape]);
  const { weightDecay, layerDecay, optBetas: betas, optEps: eps, labelSmoothing, clipGrad } = BEIT_SETTINGS;
  const spec = isClassifier ? CLASSIFIER : PRETRAINED;
  const optimizer = { weightDecay, betas, eps, ...(isClassifier ? { layerDecay, maxNorm: clipGrad } : { maxNorm: 3 }) };
  yield* frame(
    { config: spec.config, classes: spec.classes, pretraining: spec.pretraining, labelSmoothing, optimizer },
    state,
  );
  for (let step = 0; step < BEIT_STEPS; step++) {
    const lr = BEIT_RATES[step];
    if (isClassifier) {
      const { size, side, images, labels } = classifierBatch(step);
      yield* frame({ lr }, [
        ['images', images, [size, 3, side, side]],
        ['labels', labels, [size]],
      ]);
      continue;
    }
    const { batch, codes } = maskedBatch(step);
    const { size, side, images, masked } = batch;
    yield* frame({ lr }, [
      ['images', images, [size, 3, side, side]],
      ['masked', masked, [size, masked.length / size]],
      ['codes', codes, [size, masked.length / size]],
    ]);
  }
}

if (what === 'exports' && folder !== undefined) {
  for (const kind of ['classifier', 'pretrained'] as const)
    console.log((await exportTinyBeit(kind, folder, backend)).join('\n'));
} else if (what === 'classifier' || what === 'pretrained') await writeFrames(frames());
else {
  console.error('usage: beit.js classifier|pretrained, or beit.js exports FOLDER');
  process.exitCode = 2;
}
await backend.dispose();
