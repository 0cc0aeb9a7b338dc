/** What masked data modelling is trained on, in the memory of the host: pictures, texts and pairs, already masked. */

/** Pictures [B, 3, S, S] and which of their P patches are hidden. */
export interface MaskedImages {
  readonly size: number;
  /** Side S in pixels. */
  readonly side: number;
  /** Normalised as BEiT-3's pictures are: (x - 0.5) / 0.5. */
  readonly images: Float32Array;
  /** [B * P], 1 = the patch is hidden behind the mask token. */
  readonly masked: Uint8Array;
  /** The hidden patches as b * P + p, ascending: those whose codes are predicted. */
  readonly predictPatches: Int32Array;
  /** Where the pictures come from, for messages. */
  readonly files: readonly string[];
}

/** Texts [B, T], `<s>` words `</s>` and padding, and which of their tokens are hidden. */
export interface MaskedTexts {
  readonly size: number;
  /** T. */
  readonly length: number;
  /** Token ids after masking, [B * T]. */
  readonly ids: Int32Array;
  /** [B * T], 1 = padding. */
  readonly padding: Uint8Array;
  /** The chosen tokens as b * T + t, ascending, and what stood there. */
  readonly predictTokens: Int32Array;
  readonly targets: Int32Array;
}

/** A step's batches; a kind of data that is not trained on is null. */
export interface PretrainBatch {
  readonly images: MaskedImages | null;
  readonly texts: MaskedTexts | null;
  /** Row i of both is a pair. */
  readonly pairs: { readonly images: MaskedImages; readonly texts: MaskedTexts } | null;
}
