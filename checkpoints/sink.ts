import { InputError, messageOf } from '../core/errors.js';

/** Takes the bytes of a new file in order. What is written may be reused by the caller afterwards. */
export interface ByteSink {
  write(bytes: Uint8Array): Promise<void>;
}

/** Temporary files being written; null until the first one is. */
let unfinished: Set<string> | null = null;

/**
 * Sees to it that a temporary file does not outlive the process, should that exit (`process.exit`) before it is done.
 * Take it out of the set that comes back when it is renamed or gone.
 */
export async function removeAtExit(temporary: string): Promise<Set<string>> {
  const { unlinkSync } = await import('node:fs');
  if (unfinished === null) {
    const files = new Set<string>();
    unfinished = files;
    process.once('exit', () => {
      for (const file of files) {
        try {
          unlinkSync(file);
        } catch {
          // It was never made.
        }
      }
    });
  }
  return unfinished.add(temporary);
}

/**
 * Makes a folder and those above it, where they are missing (Node). mkdir's own `recursive` never comes back from places
 * like /proc, where a folder is there and nothing can be made in it. Throws what mkdir throws.
 */
export async function ensureFolder(path: string): Promise<void> {
  const { mkdir, stat } = await import('node:fs/promises');
  const { dirname, resolve } = await import('node:path');
  const folder = resolve(path);
  const isThere = async (): Promise<boolean> => (await stat(folder).catch(() => null))?.isDirectory() ?? false;
  if (await isThere()) return;
  if (dirname(folder) !== folder) await ensureFolder(dirname(folder));
  await mkdir(folder).catch(async (error: unknown) => {
    // Another program may have been faster.
    if (!(await isThere())) throw error;
  });
}

/**
 * Writes a file so that it appears whole or not at all: into a temporary file beside it, flushed to the disk, then
 * renamed (Node). Nothing remains when `fill` throws or the process exits. Throws InputError when the disk refuses.
 */
export async function writeFileAtomically(path: string, fill: (sink: ByteSink) => Promise<void>): Promise<void> {
  const { open, rename, stat, unlink } = await import('node:fs/promises');
  // Before all the work: a folder would only refuse the last step.
  if ((await stat(path).catch(() => null))?.isDirectory()) {
    throw new InputError(`Cannot write ${path}: it is a folder; give the name of a file.`);
  }
  const temporary = `${path}.${Math.random().toString(36).slice(2, 10)}.tmp`;
  const files = await removeAtExit(temporary);
  const handle = await open(temporary, 'wx').catch((error: unknown) => {
    files.delete(temporary);
    return diskError(path, error);
  });
  let done = false;
  try {
    await fill({
      async write(bytes) {
        try {
          for (let at = 0; at < bytes.length; ) {
            at += (await handle.write(bytes, at, Math.min(bytes.length - at, 1 << 28))).bytesWritten;
          }
        } catch (error) {
          diskError(path, error);
        }
      },
    });
    await handle.sync().catch((error: unknown) => diskError(path, error));
    await handle.close();
    await rename(temporary, path).catch((error: unknown) => diskError(path, error));
    done = true;
  } finally {
    if (!done) {
      await handle.close().catch(() => {});
      await unlink(temporary).catch(() => {});
    }
    files.delete(temporary);
  }
}

/** The same bytes in memory, for pages. */
export async function collectBytes(fill: (sink: ByteSink) => Promise<void>): Promise<Uint8Array<ArrayBuffer>> {
  let out = new Uint8Array(1 << 12);
  let length = 0;
  await fill({
    async write(bytes) {
      if (length + bytes.length > out.length) {
        const larger = new Uint8Array(Math.max(length + bytes.length, out.length * 2));
        larger.set(out.subarray(0, length));
        out = larger;
      }
      out.set(bytes, length);
      length += bytes.length;
    },
  });
  return out.slice(0, length);
}

/** Says in one sentence why a file could not be written. */
export function diskError(path: string, error: unknown): never {
  if (error instanceof InputError) throw error;
  const code = (error as { code?: string }).code;
  if (code === 'ENOSPC' || code === 'EDQUOT') throw new InputError(`The disk is full: cannot write ${path}.`);
  if (code === 'ENOENT') throw new InputError(`Cannot write ${path}: its folder does not exist.`);
  throw new InputError(`Cannot write ${path}: ${messageOf(error)}.`);
}
