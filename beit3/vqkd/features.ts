/** Features of pictures as a teacher has them, in files: computed once, used in every run. Node only. */
import {
  type Checkpoint,
  openCheckpoint,
  readFloat32,
  type TensorEntry,
  writeSafetensors,
} from '../../checkpoints/index.js';
import type { Backend } from '../../core/backend.js';
import { toHalf } from '../../core/dtype.js';
import { InputError } from '../../core/errors.js';
import { tensor } from '../../core/tensor.js';
import { parseJson } from '../checkpoint.js';
import { eachPicture } from '../data/stream/index.js';
import { StreamedPictures, stacked } from '../data/stream/queue.js';
import type { ImageSample } from '../data/stream/stream.js';
import { expectFinite } from '../finite.js';
import { plainTransform } from './pictures.js';
import { TEACHER_KINDS, type Teacher, type TeacherSizes } from './teachers/teacher.js';

/** Where a file says whose features it holds. */
const KEY = 'azulejo_features';
const MOST_SIDE = 1 << 13;
/** The largest float16. */
const MOST_HALF = 65504;

export interface WriteFeaturesOptions {
  /** Pictures: folders, files or .tar shards. Under the paths given here they are found again. */
  readonly images: readonly string[];
  readonly backend: Backend;
  readonly dtype?: 'float32' | 'float16';
  /** Pictures at a time. */
  readonly batch?: number;
  /** Threads that load pictures. */
  readonly workers?: number;
  readonly onProgress?: (done: number, total: number) => void;
  /** Told of each picture that cannot be read. */
  readonly onSkip?: (reason: string) => void;
}

/**
 * Writes the features of pictures (resized and cropped without chance) as a safetensors file: for each picture a tensor
 * [P, D] under its path, and the sizes of the teacher in the metadata. Only a batch is held at a time. A picture that
 * cannot be read has NaN. Gives how many there are and how many of them cannot be read. Throws InputError for no pictures,
 * and for a path that comes twice.
 */
export async function writeFeatures(
  path: string,
  teacher: Teacher,
  { images, backend, dtype = 'float32', batch = 32, workers, onProgress, onSkip }: WriteFeaturesOptions,
): Promise<{ readonly pictures: number; readonly broken: number }> {
  const names: string[] = [];
  // Names come before values in the file. What is broken here is told when its turn comes again.
  for await (const { where } of eachPicture(images)) names.push(where);
  if (names.length === 0) throw new InputError(`There is no picture in ${images.join(', ')}.`);
  const { kind, width, imageSize, grid } = teacher;
  const loader = new StreamedPictures({ transform: plainTransform(imageSize), seed: 0, workers, onSkip });
  const rows = featureRows(eachPicture(images, onSkip), teacher, loader, backend, batch);
  let done = 0;
  let broken = 0;
  const next = async (name: string): Promise<ArrayBufferView> => {
    const { value, done: isEnd } = await rows.next();
    if (isEnd || value.where !== name)
      throw new InputError(`${name}: the pictures changed while their features were made; begin anew.`);
    if (value.features === null) broken++;
    const values = value.features ?? new Float32Array(grid * grid * width).fill(Number.NaN);
    done++;
    onProgress?.(done, names.length);
    return dtype === 'float32' ? values : halves(values, name);
  };
  try {
    const shape = [grid * grid, width];
    const described = { version: 1, kind, width, imageSize, grid, images };
    const tensors = names.map((name) => ({ name, dtype, shape, data: () => next(name) }));
    await writeSafetensors(path, tensors, { [KEY]: JSON.stringify(described) }, { sorted: false });
  } finally {
    await rows.return(undefined);
    await loader.close();
  }
  return { pictures: done, broken };
}

function halves(values: Float32Array, name: string): Uint16Array {
  if (values.some((value) => Math.abs(value) > MOST_HALF))
    throw new InputError(`The features of ${name} are beyond float16; give --dtype float32.`);
  return Uint16Array.from(values, toHalf);
}

interface Row {
  readonly where: string;
  readonly features: Float32Array | null;
}

/** Features of one picture after the other; the pictures of the next batch are loaded meanwhile. */
async function* featureRows(
  pictures: AsyncGenerator<ImageSample>,
  teacher: Teacher,
  loader: StreamedPictures,
  backend: Backend,
  batch: number,
): AsyncGenerator<Row, undefined> {
  const load = async () => {
    const samples: ImageSample[] = [];
    while (samples.length < batch) {
      const next = await pictures.next();
      if (next.done) break;
      samples.push(next.value);
    }
    return { names: samples.map(({ where }) => where), pixels: await loader.loadEach(samples, 0) };
  };
  let ahead = load();
  try {
    while (true) {
      const { names, pixels } = await ahead;
      if (names.length === 0) return;
      ahead = load();
      ahead.catch(() => {});
      const good = pixels.filter((values) => values !== null);
      const values = good.length === 0 ? new Float32Array(0) : await featuresOf(teacher, good, backend);
      const size = values.length / Math.max(1, good.length);
      let at = 0;
      for (const [i, where] of names.entries()) {
        const features = pixels[i] === null ? null : values.subarray(at * size, ++at * size);
        yield { where, features };
      }
    }
  } finally {
    await ahead.catch(() => {});
    await pictures.return(undefined);
  }
}

async function featuresOf(teacher: Teacher, pixels: readonly Float32Array[], backend: Backend): Promise<Float32Array> {
  const { imageSize: S } = teacher;
  const images = tensor(stacked(pixels), { shape: [pixels.length, 3, S, S], backend });
  const features = teacher.features(images);
  images.dispose();
  try {
    const values = (await features.data()) as Float32Array;
    expectFinite(values);
    return values;
  } finally {
    features.dispose();
  }
}

/** Files that `writeFeatures` made, all of one teacher. Values stay on the disk until they are asked for. */
export class FeatureFiles {
  private constructor(
    /** The teacher whose features they are. */
    readonly sizes: TeacherSizes,
    private readonly files: readonly { readonly path: string; readonly checkpoint: Checkpoint }[],
  ) {}

  /** Throws InputError for other files, and for files of several teachers. */
  static async open(paths: readonly string[]): Promise<FeatureFiles> {
    const files: { path: string; checkpoint: Checkpoint }[] = [];
    try {
      for (const path of paths) files.push({ path, checkpoint: await openCheckpoint(path) });
      const all = files.map(({ path, checkpoint }) => sizesOf(checkpoint, path));
      const other = all.findIndex((sizes) => JSON.stringify(sizes) !== JSON.stringify(all[0]));
      if (other < 0) return new FeatureFiles(all[0], files);
      throw new InputError(`${paths[0]} and ${paths[other]} are of different teachers; give features of one.`);
    } catch (error) {
      for (const { checkpoint } of files) await checkpoint.close();
      throw error;
    }
  }

  /** Features [B, P, D] of pictures by their paths. Throws InputError for one that is not there or could not be read. */
  async read(names: readonly string[]): Promise<Float32Array> {
    const { grid, width } = this.sizes;
    const size = grid * grid * width;
    const out = new Float32Array(names.length * size);
    for (const [i, name] of names.entries()) {
      const values = await readFloat32(this.#entry(name), out.subarray(i * size, (i + 1) * size));
      if (Number.isNaN(values[0]))
        throw new InputError(
          `${name} could not be read when its features were made; make them anew with beit3 vqkd features.`,
        );
    }
    return out;
  }

  #entry(name: string): TensorEntry {
    for (const { checkpoint } of this.files) {
      const entry = checkpoint.tensors.get(name);
      if (entry) return entry;
    }
    const [{ path, checkpoint }] = this.files;
    const [known] = checkpoint.tensors.keys();
    throw new InputError(
      `${path} has no features of ${name}; its pictures have names such as ${known}: give --images as for beit3 vqkd features.`,
    );
  }

  async close(): Promise<void> {
    for (const { checkpoint } of this.files) await checkpoint.close();
  }
}

function sizesOf({ metadata, tensors }: Checkpoint, path: string): TeacherSizes {
  const text = metadata[KEY];
  const refuse = (): never => {
    throw new InputError(`${path} holds no features of pictures; make them with beit3 vqkd features.`);
  };
  if (text === undefined || tensors.size === 0) return refuse();
  const said = parseJson(text, `The description inside ${path}`) as Partial<TeacherSizes & { version: number }> | null;
  const { kind, width = 0, imageSize = 0, grid = 0 } = said ?? {};
  const isSide = (n: unknown): boolean => Number.isInteger(n) && (n as number) >= 1 && (n as number) <= MOST_SIDE;
  if (said?.version !== 1 || !kind || !TEACHER_KINDS.includes(kind) || ![width, imageSize, grid].every(isSide))
    return refuse();
  for (const { name, shape } of tensors.values())
    if (shape.length !== 2 || shape[0] !== grid * grid || shape[1] !== width)
      throw new InputError(`${path} is damaged: ${name} is not [${grid * grid}, ${width}]; make it anew.`);
  return { kind, width, imageSize, grid };
}
