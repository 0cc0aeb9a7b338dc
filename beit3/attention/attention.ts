/** Where the attention of a model goes. */
import type { Backend } from '../../core/backend.js';
import { InputError } from '../../core/errors.js';
import { mean, slice } from '../../core/ops/index.js';
import type { Tensor } from '../../core/tensor.js';
import type { Module } from '../../nn/module.js';
import { patchCount } from '../config.js';
import type { ImageSource } from '../pipeline/images.js';
import type { PipelineOptions } from '../pipeline/options.js';
import { loadOptions, openBackend, Session, type SessionSizes, valuesOf } from '../pipeline/session.js';
import { loadTokenizer } from '../pipeline/texts.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { type Eyes, openEyes } from './eyes.js';
import type { PatchMap } from './overlay.js';

/** Who looks: `[CLS]`, a patch by row and column from 0, or the words of the text. */
export type Viewer = 'cls' | 'text' | readonly [row: number, column: number];

export interface AttentionOptions {
  /** Read together with the picture. */
  readonly text?: string;
  /** Default: the text where there is one, else `[CLS]`. */
  readonly from?: Viewer;
  /** From 0; negative counts from the last one, which is the default. */
  readonly layer?: number;
}

/** Attention of one layer on the patches of a picture. */
export interface AttentionMaps {
  readonly layer: number;
  /** Of each head the share of its attention that each patch gets. */
  readonly heads: readonly PatchMap[];
}

/** The mean of the heads. */
export function meanMap({ heads }: AttentionMaps): PatchMap {
  const values = new Float32Array(heads[0].values.length);
  for (const head of heads) for (let i = 0; i < values.length; i++) values[i] += head.values[i] / heads.length;
  return { ...heads[0], values };
}

/** Shows where a model looks: a BEiT-3, BEiT or BEiT v2, whatever it was trained for, or the encoder of a VQ-KD tokenizer. */
export class AttentionPipeline extends Session<Module, SessionSizes> {
  private constructor(
    backend: Backend,
    private readonly eyes: Eyes,
    tokenizer: Tokenizer | null,
  ) {
    super(backend, eyes.model, { config: eyes.sizes }, tokenizer, { pipeline: 'vl', statistics: eyes.statistics });
  }

  /** `reads` tells whether texts will be read too. Throws InputError for files that do not fit together. */
  static async create(options: PipelineOptions, reads: boolean): Promise<AttentionPipeline> {
    const backend = await openBackend(options);
    const eyes = await openEyes(options.checkpoint, await loadOptions(options, backend), reads);
    try {
      const tokenizer = eyes.words ? await loadTokenizer(options, eyes.words) : null;
      return new AttentionPipeline(backend, eyes, tokenizer);
    } catch (error) {
      eyes.model.dispose();
      throw error;
    }
  }

  /** Throws InputError for a layer or a patch that there is not. */
  async run(image: ImageSource, { text, from, layer = -1 }: AttentionOptions = {}): Promise<AttentionMaps> {
    const { layers, heads: H, watched } = this.eyes;
    const which = layer < 0 ? layers + layer : layer;
    if (!Number.isInteger(layer) || which < 0 || which >= layers)
      throw new InputError(`The model has ${layers} layers, 0 to ${layers - 1}; there is no layer ${layer}.`);
    const patches = patchCount(this.eyes.sizes);
    const side = Math.sqrt(patches);
    const viewer = from ?? (text === undefined ? 'cls' : 'text');
    if (viewer === 'text' && text === undefined)
      throw new InputError('Attention from the text needs a text; give --text.');
    const pixels = await this.pixels([image]);
    const texts = text === undefined ? null : this.texts([text]);
    const values = await valuesOf(this.backend, () => {
      const given = texts?.();
      // Words stand between <s> and </s>.
      const [first, last] = rowsOf(viewer, side, (given?.text.shape[1] ?? 0) - 1);
      let seen: Tensor | null = null;
      watched.onAttention = (probabilities, i) => {
        if (i !== which) return;
        const rows = slice(probabilities(), 2, first, last);
        seen = mean(slice(rows, 3, 1, 1 + patches), 2);
      };
      try {
        this.eyes.look({ image: pixels(), ...given });
      } finally {
        watched.onAttention = null;
      }
      return seen as unknown as Tensor;
    });
    const heads = Array.from({ length: H }, (_, head) => ({
      rows: side,
      columns: side,
      values: values.slice(head * patches, (head + 1) * patches),
    }));
    return { layer: which, heads };
  }
}

/** The positions, first and behind the last, of who looks; `end` is the place of </s> in the text. */
function rowsOf(viewer: Viewer, side: number, end: number): readonly [number, number] {
  if (viewer === 'cls') return [0, 1];
  const text = 1 + side * side;
  if (viewer === 'text') return [text + 1, text + end];
  const [row, column] = viewer;
  const isInside = [row, column].every((n) => Number.isInteger(n) && n >= 0 && n < side);
  if (!isInside)
    throw new InputError(
      `The picture has ${side} x ${side} patches, 0 to ${side - 1}; there is no patch ${row},${column}.`,
    );
  const at = 1 + row * side + column;
  return [at, at + 1];
}
