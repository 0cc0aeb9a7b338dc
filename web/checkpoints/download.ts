/** Files of a model from an address or the person's disk into the store, streamed. Runs in a worker. */

import { parseLabels } from '../../beit3/pipeline/index.js';
import { Tokenizer } from '../../beit3/tokenizer/index.js';
import { openCheckpoint } from '../../checkpoints/checkpoint.js';
import { InputError, messageOf } from '../../core/errors.js';
import { type FileKind, kindOf } from './kinds.js';
import type { Store, StoredFile } from './store.js';

/** Bytes so far and in all; null where nobody knows. */
export type OnBytes = (done: number, total: number | null) => void;

const ENDINGS = '.safetensors, .pth or .pt (weights), .spm (tokenizer), .txt or .json (labels)';
const MAX_LABEL_BYTES = 64 << 20;

/** Downloads a file into the store, unless it is there. Throws InputError, one sentence, and keeps nothing then. */
export async function download(store: Store, address: string, onBytes: OnBytes): Promise<StoredFile> {
  const url = addressOf(address);
  const name = decoded(url.pathname.split('/').at(-1) ?? '');
  const kind = kindFor(name === '' ? url.href : name);
  const known = (await store.list()).find((file) => file.address === url.href);
  if (known) return known;
  const { body, total } = await openAddress(url);
  return await store.add({ name, kind, address: url.href }, counted(body, total, url.href, onBytes), (file) =>
    check(kind, file),
  );
}

/** Copies a file of the person's own into the store. Throws InputError, one sentence, and keeps nothing then. */
export async function keep(store: Store, file: File, onBytes: OnBytes): Promise<StoredFile> {
  const kind = kindFor(file.name);
  // Before a large file is copied.
  await check(kind, file);
  const stream = counted(file.stream(), file.size, file.name, onBytes);
  return await store.add({ name: file.name, kind, address: null }, stream, async () => {});
}

/** All bytes of an address as a Blob. Throws InputError. */
export async function fetchBlob(url: URL, onBytes: OnBytes): Promise<Blob> {
  const { body, total } = await openAddress(url);
  const stream = counted(body, total, url.href, onBytes) as ReadableStream<Uint8Array<ArrayBuffer>>;
  return await new Response(stream).blob();
}

function addressOf(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol)) {
    throw new InputError(`${JSON.stringify(text.slice(0, 80))} is no address; give one that begins with https://.`);
  }
  url.hash = '';
  return url;
}

function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name;
  }
}

function kindFor(name: string): FileKind {
  const kind = kindOf(name);
  if (kind === null) throw new InputError(`${name} is no file of a model; expected a name that ends in ${ENDINGS}.`);
  return kind;
}

async function openAddress(url: URL): Promise<{ body: ReadableStream<Uint8Array>; total: number | null }> {
  let response: Response;
  try {
    response = await fetch(url);
  } catch {
    throw new InputError(
      `Cannot fetch ${url.href}: its server does not answer, or does not let other pages read the file (CORS); download it yourself and choose the file.`,
    );
  }
  if (!response.ok || response.body === null) {
    throw new InputError(`Cannot fetch ${url.href}: the server answered ${response.status}.`);
  }
  // The length of a body that travels compressed says nothing of the file.
  const length = response.headers.has('content-encoding') ? null : response.headers.get('content-length');
  return { body: response.body, total: length === null ? null : Number(length) };
}

/** The same bytes, told as they pass; a body that ends early is an error. */
function counted(
  bytes: ReadableStream<Uint8Array>,
  total: number | null,
  name: string,
  onBytes: OnBytes,
): ReadableStream<Uint8Array> {
  const reader = bytes.getReader();
  let done = 0;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const step = await reader.read();
          if (!step.done) {
            done += step.value.length;
            onBytes(done, total);
            controller.enqueue(step.value);
            return;
          }
          if (total !== null && done !== total) throw new Error(`${done} of ${total} bytes came`);
          controller.close();
        } catch (error) {
          controller.error(new InputError(`Reading ${name} broke off (${messageOf(error)}); try again.`));
        }
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}

/** Throws InputError for a file that is not what its name says. */
async function check(kind: FileKind, file: File): Promise<void> {
  if (kind === 'checkpoint') await (await openCheckpoint(file)).close();
  else if (kind === 'tokenizer') await Tokenizer.load(file);
  else if (file.size > MAX_LABEL_BYTES) throw new InputError(`${file.name} is too large for a list of labels.`);
  else parseLabels(await file.text(), file.name);
}
