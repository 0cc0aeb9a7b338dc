/** The training of a visual tokenizer as a task of steps. */
import { backward } from '../../autograd/backward.js';
import { keep, scope } from '../../core/memory.js';
import { noGrad } from '../../core/modes.js';
import { cat } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import type { Builder } from '../../nn/builder.js';
import { Module } from '../../nn/module.js';
import { AdamW } from '../../nn/optim.js';
import { generatorOf } from '../data/loader/random.js';
import { optimise } from '../training/optimise.js';
import { takeItem } from '../training/scalar.js';
import type { SteppedTask } from '../training/task.js';
import type { VqKdBatch, VqKdStep } from './batches.js';
import type { VqKdConfig } from './config.js';
import { type CodeUse, UseMeter } from './meter.js';
import type { VqKdSettings } from './settings.js';
import type { Teacher } from './teachers/teacher.js';
import { VqKd, type VqKdLosses } from './vqkd.js';

/** A codebook of which less than this is used, over the whole window of the meter, is said to collapse. */
export const COLLAPSE = 0.25;
/** Dead codes begin anew until this part of the run, so that all settle. */
const RESTART_UNTIL = 0.8;
/** Vectors and parameters without weight decay. */
const NO_DECAY = /\.(bias|cls_token|pos_embed)$/;

/** What a training checkpoint holds: the parts of a tokenizer under their official names, and the meter of its codes. */
class Trained extends Module {
  readonly encoder: VqKd['encoder'];
  readonly decoder: VqKd['decoder'];
  readonly quantize: VqKd['quantize'];
  readonly encode_task_layer: VqKd['encode_task_layer'];
  readonly decode_task_layer: VqKd['decode_task_layer'];
  readonly meter: UseMeter;

  constructor(b: Builder, { encoder, decoder, quantize, encode_task_layer, decode_task_layer, codes }: VqKd) {
    super();
    this.encoder = encoder;
    this.decoder = decoder;
    this.quantize = quantize;
    this.encode_task_layer = encode_task_layer;
    this.decode_task_layer = decode_task_layer;
    this.meter = new UseMeter(b.at('meter'), codes);
  }
}

export type VqKdTaskSettings = Pick<
  VqKdSettings,
  | 'steps'
  | 'weightDecay'
  | 'optBetas'
  | 'optEps'
  | 'clipGrad'
  | 'restartDead'
  | 'restartEvery'
  | 'restartShare'
  | 'seed'
>;

/** Trains a tokenizer on pictures and the features that a teacher has of them. */
export class VqKdTask implements SteppedTask<VqKdStep> {
  readonly tokenizer: VqKd;
  readonly model: Trained;
  readonly optimiser: AdamW;
  /** The least use that was warned of. */
  #warned = 1;

  constructor(
    b: Builder,
    config: VqKdConfig,
    /** Asked where a batch has no features. */
    private readonly teacher: Teacher | null,
    readonly data: SteppedTask<VqKdStep>['data'],
    private readonly settings: VqKdTaskSettings,
    private readonly onNote: (text: string) => void = () => {},
  ) {
    this.tokenizer = new VqKd(b, config);
    this.model = new Trained(b, this.tokenizer);
    const { weightDecay, optBetas: betas, optEps: eps } = settings;
    const groups = Array.from(this.model.namedParameters(), ([name, parameter]) => ({
      parameters: [[name, parameter] as const],
      weightDecay: parameter.rank === 1 || NO_DECAY.test(name) ? 0 : weightDecay,
    }));
    this.optimiser = new AdamW(groups, { betas, eps });
  }

  /**
   * Gives `loss`, its parts `reconstruction` (1 - cosine) and `commitment`, `use` (the share of the codes that occur among
   * the last vectors, 32 for each code that there is) and `perplexity` of the same, and `gradNorm`.
   */
  async step({ batch, start }: VqKdStep, step: number, lr: number): Promise<Readonly<Record<string, number>>> {
    const { tokenizer } = this;
    this.model.train();
    this.#prepareCodes(batch, start, step);
    const made = scope(() => {
      const images = pixelsOf(batch, tokenizer);
      const losses = tokenizer.forward(images, this.#target(batch, images));
      backward(losses.loss);
      const kept = (t: Tensor): Tensor => keep(t.detach());
      const { loss, reconstruction, commitment, ids } = losses;
      return { loss: kept(loss), reconstruction: kept(reconstruction), commitment: kept(commitment), ids: kept(ids) };
    });
    const { ids, ...numbers } = await readLosses(made);
    const clipGrad = this.settings.clipGrad > 0 ? this.settings.clipGrad : null;
    const gradNorm = await optimise(this.optimiser, { lr, clipGrad, loss: numbers.loss, step, files: batch.files });
    const { isFull, ...use } = await this.model.meter.add(ids, step * ids.length);
    if (isFull) this.#warn(use, step + 1);
    return { ...numbers, ...use, gradNorm };
  }

  /** Begins the codebook in the first step, and dead codes anew in some of the others. */
  #prepareCodes(batch: VqKdBatch, start: readonly VqKdBatch[], step: number): void {
    const { seed, steps, restartDead, restartEvery, restartShare } = this.settings;
    const { tokenizer } = this;
    // Other numbers than those of the pictures.
    const generator = generatorOf(seed + 2, 'mix', 0, step);
    const vectors = (of: VqKdBatch): Tensor => noGrad(() => scope(() => tokenizer.project(pixelsOf(of, tokenizer))));
    if (start.length > 0) scope(() => tokenizer.quantize.begin(cat(start.map(vectors), 0), generator));
    else if (restartDead && step % restartEvery === 0 && step < RESTART_UNTIL * steps) {
      scope(() => {
        const rows = vectors(batch);
        tokenizer.quantize.restartDead(rows, (restartShare * rows.shape[0]) / tokenizer.codes, generator);
      });
    }
  }

  #target({ features, size }: VqKdBatch, images: Tensor): Tensor {
    if (features === null) return (this.teacher as Teacher).features(images);
    const patches = this.tokenizer.grid ** 2;
    return tensor(features, { shape: [size, patches, features.length / (size * patches)], backend: images.backend });
  }

  #warn({ use }: CodeUse, step: number): void {
    if (use >= COLLAPSE) this.#warned = 1;
    if (use >= COLLAPSE || use > this.#warned / 2) return;
    this.#warned = use;
    const advice = this.settings.restartDead ? 'a lower --lr or a larger --batch' : '--restart-dead or a lower --lr';
    this.onNote(
      `The codebook collapses: at step ${step} only ${(100 * use).toFixed(1)}% of the codes are in use; ${advice} may help.`,
    );
  }

  /** Frees the model and the optimiser's state; the teacher and the data are the caller's. */
  dispose(): void {
    this.optimiser.dispose();
    this.model.dispose();
  }
}

function pixelsOf({ images, size, side }: VqKdBatch, { encoder }: VqKd): Tensor {
  return tensor(images, { shape: [size, 3, side, side], backend: encoder.cls_token.backend });
}

/** Reads and frees. */
async function readLosses({ ids, loss, reconstruction, commitment }: VqKdLosses) {
  try {
    const codes = (await ids.data()) as Int32Array;
    const scalars = [await takeItem(loss), await takeItem(reconstruction), await takeItem(commitment)];
    return { loss: scalars[0], reconstruction: scalars[1], commitment: scalars[2], ids: codes };
  } finally {
    ids.dispose();
  }
}
