/** What the engine does for the page: keeps files, opens a model, runs one job after the other. Runs in a worker. */
import { disposeBackend, loadBackend } from '../../backends/index.js';
import { type Pipelines, type PipelineTask, pipeline } from '../../beit3/pipeline/index.js';
import { InputError, messageOf } from '../../core/errors.js';
import { download, keep } from '../checkpoints/download.js';
import { openStore } from '../checkpoints/store.js';
import { findDevices } from './devices.js';
import { describe, filesOf, type ModelFiles, optionsFor } from './models.js';
import {
  AUTO,
  type CallName,
  type Calls,
  type Device,
  type Job,
  type Progress,
  type Report,
  type Said,
} from './protocol.js';

type Tell = (progress: Progress) => void;
type Handlers = {
  readonly [C in CallName]: (input: Calls[C]['input'], tell: Tell) => Promise<Calls[C]['output']>;
};

/** A pipeline with the weights of one task on one backend. */
interface Loaded {
  readonly task: PipelineTask;
  readonly device: string;
  readonly pipeline: Pipelines[PipelineTask];
}

const store = openStore();
let devices: Device[] | null = null;
let model: ModelFiles | null = null;
/** One at a time: a large model fits a device once. */
let loaded: Loaded | null = null;
/** The backend that was started last. */
let started: string | null = null;

/** Jobs wait for each other; files come and go at any time. */
let last: Promise<unknown> = Promise.resolve();
function inTurn<T>(work: () => Promise<T>): Promise<T> {
  const done = last.then(work);
  last = done.catch(() => {});
  return done;
}

const bytesTo =
  (tell: Tell, what: string) =>
  (done: number, total: number | null): void =>
    tell({ what, done, total });

export const handlers: Handlers = {
  devices: async () => [...(devices ??= await findDevices())],
  files: async () => {
    const files = await store;
    return { files: await files.list(), lasting: files.lasting };
  },
  fetch: async ({ address }, tell) => await download(await store, address.trim(), bytesTo(tell, 'Fetching')),
  keep: async ({ file }, tell) => await keep(await store, file, bytesTo(tell, `Keeping ${file.name}`)),
  forget: async ({ id }) => {
    await (await store).remove(id);
    return null;
  },
  open: (choice, tell) =>
    inTurn(async () => {
      unload();
      model = null;
      const files = await filesOf(choice, await store, bytesTo(tell, 'Fetching the model'));
      const described = await describe(files);
      model = files;
      return described;
    }),
  run: ({ device, job }, tell) => inTurn(() => run(device, job, tell)),
};

function unload(): void {
  loaded?.pipeline.dispose();
  loaded = null;
}

async function run(wanted: string, job: Job, tell: Tell): Promise<Report> {
  const device = await usable(wanted);
  try {
    const start = performance.now();
    const isLoaded = loaded?.task === job.task && loaded.device === device;
    if (!isLoaded) await load(job.task, device, tell);
    const between = performance.now();
    const said = await answer((loaded as Loaded).pipeline, job, tell);
    return { said, device, loadMs: isLoaded ? null : between - start, runMs: performance.now() - between };
  } catch (error) {
    // The next job begins with a new device.
    if (!isRefusal(error)) await abandon(device);
    throw error;
  }
}

/** The backend of a name; AUTO is the first that starts. Throws InputError. */
async function usable(wanted: string): Promise<string> {
  devices ??= await findDevices();
  if (wanted !== AUTO) {
    const device = devices.find(({ name }) => name === wanted);
    if (!device) throw new InputError(`This page has no device ${JSON.stringify(wanted)}.`);
    if (!device.works) throw new InputError(`${device.name} cannot be used here: ${device.note}`);
    await start(wanted);
    return wanted;
  }
  const refused: string[] = [];
  for (const { name, works, note } of devices) {
    if (!works) continue;
    try {
      await start(name);
      return name;
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      refused.push(error.message);
      devices = devices.map((d) => (d.name === name ? { name, works: false, note: error.message || note } : d));
    }
  }
  throw new InputError(refused[0] ?? 'This page can compute on nothing; use a newer browser.');
}

/** Starts a backend, after ending the one that was used before: their memory adds up. */
async function start(device: string): Promise<void> {
  if (started !== null && started !== device) {
    const before = started;
    unload();
    started = null;
    await disposeBackend(before);
  }
  await loadBackend(device);
  started = device;
}

async function abandon(device: string): Promise<void> {
  loaded = null;
  started = null;
  await disposeBackend(device).catch(() => {});
}

async function load(task: PipelineTask & Job['task'], device: string, tell: Tell): Promise<void> {
  if (model === null) throw new InputError('There is no model yet; choose one.');
  unload();
  const what = `Loading the weights to ${device}`;
  const options = { ...optionsFor(task, model), device, onProgress: bytesTo(tell, what) };
  loaded = { task, device, pipeline: await pipeline(task, options) };
}

async function answer(loadedPipeline: Pipelines[PipelineTask], job: Job, tell: Tell): Promise<Said> {
  tell({ what: 'Computing', done: 0, total: null });
  switch (job.task) {
    case 'classify':
      return { task: job.task, classes: await (loadedPipeline as Pipelines['classify']).run(job.picture) };
    case 'vqa':
      return { task: job.task, answers: await (loadedPipeline as Pipelines['vqa']).run(job.picture, job.question) };
    case 'nlvr2': {
      const judge = loadedPipeline as Pipelines['nlvr2'];
      return { task: job.task, judgement: await judge.run(job.left, job.right, job.sentence) };
    }
    case 'caption':
      return { task: job.task, caption: await (loadedPipeline as Pipelines['caption']).run(job.picture) };
    case 'retrieve': {
      const search = loadedPipeline as Pipelines['retrieve'];
      const onProgress = (done: number, total: number): void => tell({ what: 'Looking', done, total });
      const matches =
        'text' in job
          ? await search.run({ text: job.text, images: job.pictures }, { onProgress })
          : await search.run({ image: job.picture, texts: job.texts }, { onProgress });
      return { task: job.task, found: matches.map(({ index, similarity }) => ({ index, similarity })) };
    }
  }
}

/** Whether what was given is to blame, and not a device that is lost or whose memory is full. */
export const isRefusal = (error: unknown): boolean => error instanceof InputError && error.name !== 'DeviceLostError';

/** What of a failure a person is told. */
export const sentenceOf = (error: unknown): string => messageOf(error).trim().split('\n')[0];
