/** A Chromium that comes from npm alone. */

import { access, mkdir, readFile, rename, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type { Browser } from 'playwright-core';
import { messageOf } from '../../core/errors.js';
import { packageRoot } from '../support/fixtures.js';

/** None of the package's own switches, which end cross-origin isolation. */
const ARGUMENTS = ['--no-sandbox', '--disable-dev-shm-usage'];
/** WebGL2 is there in both cases, drawn by the processor. */
const WITHOUT_WEBGPU = ['--disable-gpu'];
const WITH_WEBGPU = [
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
  // With it SwiftShader takes seconds to compile a kernel that has workgroup memory.
  '--disable-dawn-features=use_vulkan_zero_initialize_workgroup_memory_extension',
];

/** The browser, or why there is none here; `webgpu` gives its pages an adapter that computes on the processor. */
export async function startBrowser({ webgpu = false } = {}): Promise<Browser | string> {
  try {
    const executablePath = await unpacked();
    const { chromium } = await import('playwright-core');
    const args = [...ARGUMENTS, ...(webgpu ? WITH_WEBGPU : WITHOUT_WEBGPU)];
    return await chromium.launch({ executablePath, args, timeout: 30_000 });
  } catch (error) {
    return `no Chromium starts here: ${messageOf(error).trim().split('\n')[0]}`;
  }
}

/**
 * The browser's program, unpacked once for each version: the package would take any file of its name in the temporary
 * folder for its own, also one of another version or one that was written halfway.
 */
async function unpacked(): Promise<string> {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error(`@sparticuz/chromium is for linux x64, this is ${process.platform} ${process.arch}`);
  }
  const entry = createRequire(import.meta.url).resolve('@sparticuz/chromium');
  const root = entry.slice(0, entry.lastIndexOf('/build/'));
  const { version } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  const folder = join(packageRoot, '.cache', `chromium-${version}`);
  const program = join(folder, 'chromium');
  const isThere = await access(program).then(
    () => true,
    () => false,
  );
  if (isThere) return program;
  const partial = `${folder}.${process.pid}.tmp`;
  const before = process.env.TMPDIR;
  try {
    await mkdir(partial, { recursive: true });
    process.env.TMPDIR = partial;
    const { default: chromium } = await import('@sparticuz/chromium');
    const made = await chromium.executablePath();
    if (dirname(made) !== partial) throw new Error(`the browser was unpacked to ${made}`);
    // Another process may have been faster; its folder is as good.
    await rename(partial, folder).catch((error) => access(program).catch(() => Promise.reject(error)));
    return program;
  } finally {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
    await rm(partial, { recursive: true, force: true });
  }
}
