import { InputError } from '../core/errors.js';
import type { TensorEntry } from './entry.js';
import type { Plain } from './plain.js';
import { openLegacyPth } from './pth/legacy.js';
import { openZipPth } from './pth/zipped.js';
import { openSafetensors } from './safetensors.js';
import { type ByteSource, openSource, type SourceLike } from './source.js';

/** An open checkpoint file. Only its directory is in memory; values are read on demand. */
export interface Checkpoint {
  /** What the file is. */
  readonly format: 'safetensors' | 'pth-zip' | 'pth-legacy';
  /** The model's tensors by name, in the order of the file. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** Text pairs beside the tensors (safetensors `__metadata__`); empty for `.pth`. */
  readonly metadata: Readonly<Record<string, string>>;
  /** What else a `.pth` holds (optimizer, epoch, args, ...) as inert data; its tensors are entries to read. */
  readonly extra: Readonly<Record<string, Plain>>;
  /** Closes the file. Tensors cannot be read afterwards. */
  close(): Promise<void>;
}

/** What a format's reader finds in a source. */
export type CheckpointContents = Omit<Checkpoint, 'close'>;

const ZIP_SIGNATURES = ['PK\x03\x04', 'PK\x05\x06'];

/**
 * Opens a safetensors or PyTorch checkpoint (zip or legacy), told apart by content. Nothing in the file is executed.
 * Throws InputError when it is neither, is damaged or truncated, or asks for code to be run.
 */
export async function openCheckpoint(from: SourceLike, name?: string): Promise<Checkpoint> {
  const source = await openSource(from, name);
  try {
    const contents = await read(source);
    return { ...contents, close: () => source.close() };
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function read(source: ByteSource): Promise<CheckpointContents> {
  if (source.size === 0) throw new InputError(`${source.name} is empty; get it again.`);
  const head = await source.read(0, Math.min(64, source.size));
  const text = String.fromCharCode(...head);
  // First: a header of 128 bytes starts like a pickle, while neither a zip nor a pickle has a brace here.
  if (text[8] === '{') return openSafetensors(source);
  if (ZIP_SIGNATURES.includes(text.slice(0, 4))) return openZipPth(source);
  if (head[0] === 0x80) return openLegacyPth(source);
  throw new InputError(`${source.name} is not a checkpoint: ${looksLike(text)}; give a .safetensors or .pth file.`);
}

function looksLike(head: string): string {
  if (head.startsWith('version https://git-lfs')) return 'it is a Git LFS pointer, whose content was not fetched';
  if (/^\s*<(!doctype|html)/i.test(head)) return 'it is a web page';
  const start = head.slice(0, 24);
  if (/^[\t\n\r\x20-\x7e]*$/.test(start)) return `it starts with the text ${JSON.stringify(start)}`;
  return `it starts with the bytes ${[...start.slice(0, 8)].map((c) => c.charCodeAt(0).toString(16).padStart(2, '0')).join(' ')}`;
}
