/** Reads JSON files out of installed npm packages, wherever the package manager put them. Needs Node. */

import { InputError, messageOf } from '../../core/errors.js';

/** The parsed JSON of `file` in the package. Throws InputError where the package is not installed. */
export async function readPackageJson<T>(name: string, file: string): Promise<T> {
  const { createRequire } = await import('node:module');
  const { readFile } = await import('node:fs/promises');
  let path: string;
  try {
    path = createRequire(import.meta.url).resolve(`${name}/${file}`);
  } catch {
    throw new InputError(
      `the emoji corpus needs the package ${name}, which comes with a checkout of this project and is not installed here: npm install -D ${name}`,
    );
  }
  try {
    return JSON.parse(await readFile(path, 'utf8')) as T;
  } catch (error) {
    throw new InputError(`${file} of the package ${name} cannot be read (${messageOf(error)}): install it again`);
  }
}

export async function packageVersion(name: string): Promise<string> {
  return (await readPackageJson<{ version: string }>(name, 'package.json')).version;
}
