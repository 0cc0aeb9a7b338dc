import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Checkpoint, itemBytes, type StoredDType, type TensorEntry } from '../../checkpoints/index.js';
import { InputError } from '../../core/errors.js';

export function fixture(name: string): string {
  return fileURLToPath(new URL(`../../../test/fixtures/${name}`, import.meta.url));
}

/** A folder that goes away with the test. */
export async function temporaryFolder(t: TestContext): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'checkpoints-'));
  t.after(() => rm(folder, { recursive: true, force: true }));
  return folder;
}

/** An assertion for `assert.rejects`: an InputError of one line that matches. */
export function inputError(pattern: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof InputError, `expected an InputError, got ${String(error)}`);
    assert.match(error.message, pattern);
    assert.match(error.message, /^[^\n]{1,700}\.$/, 'one sentence on one line');
    return true;
  };
}

export interface Values {
  dtype: StoredDType;
  shape: readonly number[];
  bytes: Uint8Array;
}

/** Reads a tensor in both ways, which must agree. */
export async function valuesOf(entry: TensorEntry): Promise<Values> {
  const bytes = await entry.read();
  const streamed = new Uint8Array(entry.byteLength);
  let expected = 0;
  await entry.stream((chunk, at) => {
    assert.equal(at, expected);
    assert.equal(chunk.length % itemBytes(entry.dtype), 0);
    assert.ok(chunk.length <= 4 << 20);
    streamed.set(chunk, at);
    expected += chunk.length;
  });
  assert.equal(expected, entry.byteLength);
  assert.deepEqual(streamed, bytes);
  return { dtype: entry.dtype, shape: entry.shape, bytes };
}

export async function allValues(checkpoint: Checkpoint): Promise<Map<string, Values>> {
  const out = new Map<string, Values>();
  for (const [name, entry] of checkpoint.tensors) {
    assert.equal(entry.name, name);
    out.set(name, await valuesOf(entry));
  }
  return out;
}
