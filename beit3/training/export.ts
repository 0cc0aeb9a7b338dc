/** Trained weights as files, and what lies beside them. Node only. */
import { type WritableTensor, writePth, writeSafetensors } from '../../checkpoints/index.js';
import { diskError } from '../../checkpoints/sink.js';

export const EXPORTS = ['safetensors', 'pth', 'both'] as const;
export type ExportFormat = (typeof EXPORTS)[number];

/**
 * Writes weights by name, with what describes their model inside, as `<path>.safetensors`, `<path>.pth` or both; gives the
 * paths. Each file appears whole or not at all. Throws InputError when the disk refuses.
 */
export async function exportWeights(
  path: string,
  format: ExportFormat,
  tensors: readonly WritableTensor[],
  description: Readonly<Record<string, unknown>>,
): Promise<string[]> {
  const config = JSON.stringify(description);
  const written: string[] = [];
  if (format !== 'pth') {
    await writeSafetensors(`${path}.safetensors`, tensors, { format: 'pt', config });
    written.push(`${path}.safetensors`);
  }
  if (format !== 'safetensors') {
    await writePth(`${path}.pth`, tensors, { extra: { config } });
    written.push(`${path}.pth`);
  }
  return written;
}

/** A config without how it was trained, which is no property of what was trained. */
export function trainedConfig<C extends object>(config: C): C {
  return { ...config, drop_path_rate: 0, checkpoint_activations: false };
}

/** Puts a copy of a file into a folder, so that it is found beside what is exported. Throws InputError when the disk refuses. */
export async function copyInto(path: string, folder: string): Promise<void> {
  const { copyFile } = await import('node:fs/promises');
  const { basename, join, resolve } = await import('node:path');
  const to = join(folder, basename(path));
  if (resolve(to) === resolve(path)) return;
  await copyFile(path, to).catch((error: unknown) => diskError(to, error));
}
