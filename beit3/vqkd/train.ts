/** `beit3 vqkd train`: everything is opened and checked, then trained. Node only. */
import { defaultBackend, setDefaultBackend } from '../../core/device.js';
import { InputError } from '../../core/errors.js';
import { Generator, manualSeed } from '../../core/random.js';
import { Builder } from '../../nn/builder.js';
import { openPictures } from '../data/stream/index.js';
import { pretrainingTransform } from '../pretrain/loader.js';
import { prepareOutput, runSteps } from '../training/run.js';
import {
  mergeSettings,
  namesSkipped,
  recipeNamed,
  type TrainingOptions,
  type TrainingResult,
} from '../training/settings.js';
import { gridOf } from '../vit/config.js';
import { vqkdSteps } from './batches.js';
import { saveVqKd } from './checkpoint.js';
import { describeVqKd, parseVqKdConfig, type VqKdConfig } from './config.js';
import { FeatureFiles } from './features.js';
import { plainTransform } from './pictures.js';
import { DEFAULT_RECIPE, OFFICIAL, VQKD_RECIPES, type VqKdSettings } from './settings.js';
import { VqKdTask } from './task.js';
import { loadTeacher } from './teachers/load.js';
import type { Teacher, TeacherSizes } from './teachers/teacher.js';

export interface TrainVqKdOptions extends TrainingOptions<VqKdSettings> {
  /** Pictures: folders, files or .tar shards. */
  readonly images: readonly string[];
  /** Checkpoint of the teacher; see `loadTeacher`. Either this or `features`. */
  readonly teacher?: string;
  /** Of a BEiT-3: the layer whose outputs are the features; default the last but one. */
  readonly teacherLayer?: number;
  /** Files of `writeFeatures`; the pictures are then taken without variation. */
  readonly features?: readonly string[];
  /** Sizes that differ from the recipe's, as `parseVqKdConfig` reads them. */
  readonly model?: Readonly<Record<string, unknown>>;
}

/**
 * Trains a visual tokenizer (VQ-KD), and leaves in `output` training checkpoints, the log, and the tokenizer under the
 * official names as `model.safetensors`. A run that was ended, in whatever way, goes on when it is started again with the
 * same options, to the same numbers.
 *
 * Throws InputError for options, files and data that are wrong, and Error when training goes astray.
 */
export async function trainVqKd(options: TrainVqKdOptions): Promise<TrainingResult> {
  const {
    images,
    output,
    teacher: teacherFile,
    features: featureFiles = [],
    teacherLayer,
    onEvent = () => {},
  } = options;
  if (images.length === 0) throw new InputError('There is nothing to train on; give --images.');
  if ((teacherFile === undefined) === (featureFiles.length === 0))
    throw new InputError(
      'A tokenizer learns from a teacher; give either its checkpoint with --teacher, or its features with --features.',
    );
  if (featureFiles.length > 0 && teacherLayer !== undefined)
    throw new InputError(
      'Features are of the layer that they were made of; give --teacher-layer to beit3 vqkd features.',
    );
  const recipe = recipeNamed(VQKD_RECIPES, options.recipe ?? DEFAULT_RECIPE);
  const settings = mergeSettings(OFFICIAL, recipe.settings, options.settings ?? {});
  const sizes = { ...recipe.model, ...options.model };
  const wanted = parseVqKdConfig(sizes, 'The tokenizer');
  const backend = options.backend ?? defaultBackend();
  await prepareOutput(output);
  const before = setDefaultBackend(backend);
  const owned: { dispose(): void }[] = [];
  let features: FeatureFiles | null = null;
  try {
    let teacher: Teacher | null = null;
    if (teacherFile !== undefined) {
      const { img_size: imageSize } = wanted.encoder;
      const { onLoading: onProgress } = options;
      const asked = { backend, imageSize, grid: gridOf(wanted.encoder), layer: teacherLayer, onProgress };
      teacher = await loadTeacher(teacherFile, asked);
      owned.push(teacher);
    } else features = await FeatureFiles.open(featureFiles);
    const source = (teacher ?? features?.sizes) as TeacherSizes;
    const config = fitted(sizes, wanted, source, teacherFile ?? featureFiles[0]);
    const { seed, batch: size, startBatches, shuffleBuffer: buffer, minCrop, colorJitter } = settings;
    manualSeed(seed);
    const note = (text: string): void => onEvent({ type: 'note', text });
    const onSkip = namesSkipped(note);
    const side = config.encoder.img_size;
    const transform = features ? plainTransform(side) : pretrainingTransform(side, minCrop, colorJitter);
    const { workers } = options;
    const stream = await openPictures(images, { seed, buffer, onSkip });
    const data = vqkdSteps(stream, { size, startBatches, features, transform, seed, workers, onSkip });
    try {
      const builder = new Builder({ backend, generator: new Generator(seed) });
      const task = new VqKdTask(builder, config, teacher, data, settings, note);
      owned.push(task);
      const { lr, minLr, warmupSteps, steps, ...rest } = settings;
      const result = await runSteps(task, {
        ...options,
        steps,
        rates: { lr, minLr, warmupSteps },
        kind: 'vqkd',
        beginning: [`Learning from ${teacherFile ?? featureFiles.join(', ')}: ${describeTeacher(source)}.`],
        settings: {
          ...rest,
          model: describeVqKd(config),
          images,
          teacher: teacherFile,
          teacherLayer,
          features: featureFiles,
        },
      });
      if (result.interrupted) return { ...result, model: null };
      const { join } = await import('node:path');
      const model = join(output, `model.${options.exportFormat ?? 'safetensors'}`);
      await saveVqKd(task.tokenizer, config, model);
      return { ...result, model };
    } finally {
      await data.close();
    }
  } finally {
    for (const one of owned) one.dispose();
    await features?.close();
    setDefaultBackend(before);
  }
}

const NAMES: Readonly<Record<TeacherSizes['kind'], string>> = { clip: 'CLIP', dino: 'DINO', beit3: 'BEiT-3' };

function describeTeacher({ kind, width, grid, imageSize }: TeacherSizes): string {
  return `${NAMES[kind]}, features of width ${width}, ${grid} x ${grid} patches of pictures of ${imageSize} pixels`;
}

/** The config with the width of the teacher's features. Throws InputError where the two do not fit together. */
function fitted(
  sizes: Readonly<Record<string, unknown>>,
  wanted: VqKdConfig,
  { kind, width, imageSize, grid }: TeacherSizes,
  file: string,
): VqKdConfig {
  const { img_size } = wanted.encoder;
  const own = gridOf(wanted.encoder);
  if (imageSize !== img_size || grid !== own)
    throw new InputError(
      `${file} is of ${grid} x ${grid} patches of pictures of ${imageSize} pixels, the tokenizer of ${own} x ${own} of ${img_size}; choose sizes that fit.`,
    );
  if (sizes.decoder_out_dim !== undefined && sizes.decoder_out_dim !== width)
    throw new InputError(
      `The tokenizer is made for features of width ${sizes.decoder_out_dim}, but those of ${file} (${kind}) have ${width}; take another recipe.`,
    );
  return parseVqKdConfig({ ...sizes, decoder_out_dim: width }, 'The tokenizer');
}
