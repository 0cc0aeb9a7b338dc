/** Masked image modelling as a task of steps. */
import { backward } from '../../autograd/backward.js';
import { scope } from '../../core/memory.js';
import { add, affine, mul } from '../../core/ops/index.js';
import { type Tensor, tensor } from '../../core/tensor.js';
import { fresh } from '../../core/watch.js';
import { AdamW } from '../../nn/optim.js';
import type { ImagePipeline } from '../images/index.js';
import { STATISTICS } from '../images/preprocess.js';
import { layerDecayGroups } from '../layerDecay.js';
import type { MaskedImages } from '../pretrain/batch.js';
import { codesOf, compared, type MaskedLoss } from '../pretrain/losses.js';
import { optimise } from '../training/optimise.js';
import { takeItem } from '../training/scalar.js';
import type { SteppedTask } from '../training/task.js';
import type { MaskedImageModel } from '../vit/maskedImageModel.js';
import { VIT_NAMING } from '../vit/naming.js';
import type { ImageTokenizer } from '../vqkd/imageTokenizer.js';

export interface MimTaskOptions {
  /** Whose mean and deviation the model's pictures are normalised with. */
  readonly statistics: ImagePipeline;
  readonly weightDecay: number;
  readonly betas: readonly [number, number];
  readonly eps: number;
  /** Most norm of all gradients; null for no clipping. */
  readonly clipGrad: number | null;
}

/** What is predicted from the last layer, and by way of [CLS]; scalars that the caller frees. */
export interface MimLosses {
  readonly mim: MaskedLoss;
  readonly cls: MaskedLoss | null;
}

/**
 * The losses of a batch, and `share` of the gradients of their sum added to those of the parameters. The tokenizer sees the
 * whole pictures as they come, the model what is left of them, normalised as it wants them.
 */
export function maskedImageLosses(
  model: MaskedImageModel,
  tokenizer: ImageTokenizer,
  batch: MaskedImages,
  { statistics, share = 1 }: { readonly statistics: ImagePipeline; readonly share?: number },
): MimLosses {
  return scope(() => {
    const { backend } = model.mask_token;
    const { size, side } = batch;
    const pixels = fresh(() => tensor(batch.images, { shape: [size, 3, side, side], backend }));
    const masked = fresh(() =>
      tensor(batch.masked, { shape: [size, batch.masked.length / size], dtype: 'bool', backend }),
    );
    const predict = fresh(() => tensor(batch.predictPatches, { backend }));
    const targets = codesOf(tokenizer, batch, pixels);
    const { logits, clsLogits } = model.forward(renormalised(pixels, statistics), masked, predict);
    const mim = compared(logits, targets);
    const cls = clsLogits && compared(clsLogits, targets);
    const loss = cls ? add(mim.loss, cls.loss) : mim.loss;
    backward(share === 1 ? loss : affine(loss, share, 0));
    const part = ({ loss, accuracy }: MaskedLoss) => ({ loss: loss.detach(), accuracy: accuracy.detach() });
    return { mim: part(mim), cls: cls && part(cls) };
  });
}

/** Pictures of mean and deviation 0.5 with those of others. */
function renormalised(pixels: Tensor, statistics: ImagePipeline): Tensor {
  if (statistics === 'vl') return pixels;
  const { backend } = pixels;
  const { mean, deviation } = STATISTICS[statistics];
  const each = (values: number[]) => fresh(() => tensor(values, { shape: [1, 3, 1, 1], backend }));
  const factors = each(deviation.map((d) => 0.5 / d));
  return add(mul(pixels, factors), each(mean.map((m, i) => (0.5 - m) / deviation[i])));
}

/** Trains a ViT to predict the codes of hidden patches (BEiT; Bao et al. 2022), and [CLS] with them (BEiT v2). */
export class MimTask implements SteppedTask<readonly MaskedImages[]> {
  readonly optimiser: AdamW;

  constructor(
    readonly model: MaskedImageModel,
    private readonly tokenizer: ImageTokenizer,
    readonly data: SteppedTask<readonly MaskedImages[]>['data'],
    private readonly options: MimTaskOptions,
  ) {
    const { weightDecay, betas, eps } = options;
    const groups = layerDecayGroups(model, { layers: model.blocks.length, weightDecay, naming: VIT_NAMING });
    this.optimiser = new AdamW(groups, { betas, eps });
  }

  /**
   * A step out of batches whose gradients are added up. Gives `loss`, the sum of `mim` and `cls`, the share of right codes
   * of each (`mimAcc`, `clsAcc`), all meaned over the batches, and `gradNorm`.
   */
  async step(batches: readonly MaskedImages[], step: number, lr: number): Promise<Readonly<Record<string, number>>> {
    const { statistics, clipGrad } = this.options;
    const share = 1 / batches.length;
    this.model.train();
    const numbers: Record<string, number> = {};
    for (const batch of batches) {
      const losses = maskedImageLosses(this.model, this.tokenizer, batch, { statistics, share });
      for (const name of ['mim', 'cls'] as const) {
        const found = losses[name];
        if (found === null) continue;
        numbers[name] = (numbers[name] ?? 0) + share * (await takeItem(found.loss));
        numbers[`${name}Acc`] = (numbers[`${name}Acc`] ?? 0) + share * (await takeItem(found.accuracy));
      }
    }
    const loss = numbers.mim + (numbers.cls ?? 0);
    const files = batches.flatMap((batch) => batch.files);
    const gradNorm = await optimise(this.optimiser, { lr, clipGrad, loss, step, files });
    return { loss, ...numbers, gradNorm };
  }

  /** Frees the optimiser's state; the model, the tokenizer and the data are the caller's. */
  dispose(): void {
    this.optimiser.dispose();
  }
}
