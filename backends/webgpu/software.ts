/**
 * SwiftShader for Dawn in Node: a GPU in software, for tests and for machines without one. It lies inside the package
 * `@sparticuz/chromium`, together with the Vulkan loader that Dawn asks the system for.
 */
import { InputError, messageOf } from '../../core/errors.js';

const FILES = ['libvk_swiftshader.so', 'libvulkan.so.1', 'vk_swiftshader_icd.json'] as const;

/** dlopen's flags: now, global, and never unloaded, because Node closes what is no addon. */
const OPEN_AND_STAY = 0x2 | 0x100 | 0x1000;

/** The files of a tar archive by their last name; only regular files. */
export function untar(archive: Uint8Array): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const text = (at: number, length: number) => {
    const bytes = archive.subarray(at, at + length);
    const end = bytes.indexOf(0);
    return new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end)).trim();
  };
  for (let at = 0; at + 512 <= archive.length; ) {
    const name = text(at, 100);
    const size = Number.parseInt(text(at + 124, 12) || '0', 8);
    const type = archive[at + 156];
    if (name === '' || !(size >= 0)) break;
    const isFile = type === 0 || type === 48;
    if (isFile) files.set(name.slice(name.lastIndexOf('/') + 1), archive.subarray(at + 512, at + 512 + size));
    at += 512 + 512 * Math.ceil(size / 512);
  }
  return files;
}

/** The folder with SwiftShader and the Vulkan loader: AZULEJO_SWIFTSHADER, or unpacked once from the package. */
async function softwareFolder(): Promise<string> {
  const given = process.env.AZULEJO_SWIFTSHADER;
  if (given) return given;
  const { existsSync } = await import('node:fs');
  const { lstat, mkdir, readFile, rename, rm, writeFile } = await import('node:fs/promises');
  const { createRequire } = await import('node:module');
  const { tmpdir } = await import('node:os');
  const { join } = await import('node:path');
  const { brotliDecompressSync } = await import('node:zlib');
  const main = createRequire(import.meta.url).resolve('@sparticuz/chromium');
  const root = main.slice(0, main.lastIndexOf('/build/'));
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  const folder = join(tmpdir(), `azulejo-swiftshader-${version}-${process.getuid?.() ?? 0}`);
  // What lies there runs in this process: in a folder for everyone, another user may have put it there.
  const checked = async (): Promise<boolean> => {
    if (!FILES.every((name) => existsSync(join(folder, name)))) return false;
    const found = await lstat(folder);
    if (!found.isDirectory() || found.uid !== process.getuid?.() || (found.mode & 0o022) !== 0)
      throw new InputError(`Others can write to ${folder}, so SwiftShader is not loaded from there; delete it.`);
    return true;
  };
  if (await checked()) return folder;
  const files = untar(brotliDecompressSync(await readFile(join(root, 'bin', 'swiftshader.tar.br'))));
  const partial = `${folder}.${process.pid}.tmp`;
  try {
    await mkdir(partial, { recursive: true, mode: 0o700 });
    for (const name of FILES) {
      const bytes = files.get(name);
      if (!bytes) throw new Error(`${name} is not in the package's swiftshader.tar.br`);
      await writeFile(join(partial, name), bytes, { mode: 0o700 });
    }
    // Another process may have been faster; its folder is as good.
    await rename(partial, folder).catch(() => {});
    if (!(await checked())) throw new Error(`${folder} is not complete`);
    return folder;
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

let loaded: Promise<void> | null = null;

/** Makes SwiftShader the Vulkan driver of this process; throws InputError where that can't be. */
export function loadSoftwareVulkan(): Promise<void> {
  loaded ??= load();
  return loaded;
}

async function load(): Promise<void> {
  const given = process.env.AZULEJO_SWIFTSHADER !== undefined;
  if (!given && (process.platform !== 'linux' || process.arch !== 'x64')) {
    throw new InputError(
      `The software adapter swiftshader is for linux x64, this is ${process.platform} ${process.arch}; use another --adapter.`,
    );
  }
  let folder: string;
  try {
    folder = await softwareFolder();
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(
      `The software adapter swiftshader comes with the package @sparticuz/chromium; install it with \`npm install @sparticuz/chromium@147\` (${messageOf(error).split('\n')[0]}).`,
    );
  }
  const { join } = await import('node:path');
  process.env.VK_ICD_FILENAMES = join(folder, 'vk_swiftshader_icd.json');
  process.env.VK_DRIVER_FILES = process.env.VK_ICD_FILENAMES;
  const loader = join(folder, 'libvulkan.so.1');
  if (!opensAndStays(loader)) throw new InputError(`The Vulkan loader ${loader} does not load on this system.`);
}

/** Loads a library of the system for good; false when there is none. */
export function opensAndStays(library: string): boolean {
  try {
    process.dlopen({ exports: {} }, library, OPEN_AND_STAY);
    return true;
  } catch (error) {
    // It is no addon, which Node says only after it has loaded it.
    return messageOf(error).includes('self-register');
  }
}
