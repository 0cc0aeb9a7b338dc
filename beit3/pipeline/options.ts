import type { SourceLike } from '../../checkpoints/index.js';
import type { ByteSource } from '../readBytes.js';
import type { Tokenizer } from '../tokenizer/index.js';

/** What a pipeline is made from. */
export interface PipelineOptions {
  /** The weights, `.pth` or `.safetensors`: a path (Node), a Blob or File, or bytes. They are streamed, not held twice. */
  readonly checkpoint: SourceLike;
  /**
   * A `.spm` file or a loaded tokenizer, for tasks with text. Default: `beit3.spm`, `tokenizer.spm` or the only `.spm`
   * file beside the checkpoint.
   */
  readonly tokenizer?: ByteSource | Tokenizer;
  /**
   * Names of the classes or answers: a list, or a file with one name a line, a JSON array or object (number to name),
   * or the `answer2label.txt` of VQA. Without it results carry numbers.
   */
  readonly labels?: ByteSource | readonly string[];
  /** Sizes that the checkpoint does not tell: a JSON file, or its content. Default: `config.json` beside it, if any. */
  readonly config?: ByteSource | Readonly<Record<string, unknown>>;
  /** Side of the images in pixels, where it shall differ from the checkpoint's. */
  readonly imageSize?: number;
  /** 'auto' (the default: webgpu where there is a GPU, else wasm), 'webgpu', 'wasm', 'gpujs' or 'reference'. */
  readonly device?: string;
  /** GPU of the device webgpu, by a part of its name. Default: the fastest. */
  readonly adapter?: string;
  /** CPU threads, 1 to 256; default: all cores. The first pipeline of a device decides. */
  readonly threads?: number;
  /** Called while weights arrive. */
  readonly onProgress?: (loadedBytes: number, totalBytes: number) => void;
}

/** How many results come back. */
export interface TopOptions {
  /** Default 5. */
  readonly top?: number;
}
