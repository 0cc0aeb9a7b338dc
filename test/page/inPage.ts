/** What the tests run in a page: plain data in and out. The page loads this file as it was built, without a bundler. */

import { READY } from '../../backends/wasm/workers/control.js';
import {
  type Classification,
  DataLoader,
  decodeImage,
  type ImagePipeline,
  type ParityReport,
  pipeline,
  preprocessImage,
  runParity,
  Tokenizer,
  visionLanguageTraining,
} from '../../beit3/index.js';
import { tensor } from '../../core/tensor.js';
import { type BackendOptions, disposeBackend, useBackend } from '../../index.js';

async function fetched(path: string): Promise<File> {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return new File([await response.blob()], path);
}

export interface PageParity {
  readonly report: ParityReport;
  /** Whether the backend's memory is shared, and how many workers run on it. */
  readonly shared: boolean;
  readonly workers: number;
  readonly isolated: boolean;
}

/** Runs dumps on the wasm backend. */
export async function parity(paths: readonly string[], options: BackendOptions): Promise<PageParity> {
  const backend = await useBackend('wasm', options);
  const files = await Promise.all(paths.map(fetched));
  const report = await runParity(files, { backend });
  const t = tensor([0]);
  const memory = backend.host?.array(t.storage.block, 'float32', 0, 1).buffer as ArrayBufferLike;
  const shared = memory.constructor.name === 'SharedArrayBuffer';
  const workers = new Int32Array(memory, 0, READY + 1)[READY];
  t.dispose();
  return { report, shared, workers, isolated: crossOriginIsolated };
}

/** Ids of texts, and the texts that the ids decode to. */
export async function tokenize(model: string, texts: readonly string[]): Promise<{ ids: number[]; decoded: string }[]> {
  const tokenizer = await Tokenizer.load(model);
  return texts.map((text) => {
    const { ids } = tokenizer.encode(text);
    return { ids: [...ids], decoded: tokenizer.decode(ids) };
  });
}

/** The bytes of a picture, and what a model would see. */
export async function seen(
  path: string,
  kind: ImagePipeline,
  size: number,
): Promise<{ pixels: number[]; input: number[] }> {
  const image = await decodeImage(await fetched(path));
  return { pixels: [...image.data], input: [...preprocessImage(image, kind, { size })] };
}

/** The pixels of the training batches of an epoch: `copies` samples of one picture, all different by chance. */
export async function trainingPixels(path: string, copies: number): Promise<number[]> {
  const picture = await fetched(path);
  const loader = new DataLoader(
    {
      task: 'imageclassification',
      size: copies,
      classes: copies,
      vocabulary: null,
      sample: (row) => ({ pictures: [picture], label: row }),
      where: (row) => `row ${row}`,
    },
    { batchSize: 2, transform: visionLanguageTraining({ size: 16, randAugment: true }), training: true, seed: 3 },
  );
  const pixels: number[] = [];
  for await (const { images } of loader.epoch(1)) pixels.push(...images);
  await loader.close();
  return pixels;
}

/** The likeliest classes of a picture. */
export async function classify(checkpoint: string, image: string): Promise<Classification[]> {
  const classifier = await pipeline('classify', { checkpoint: await fetched(checkpoint), threads: 2 });
  const found = await classifier.run(await fetched(image));
  classifier.dispose();
  return found;
}

/** Ends the backend and its workers. */
export const end = (): Promise<void> => disposeBackend('wasm');
