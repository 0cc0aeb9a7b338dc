import { InputError, messageOf } from '../core/errors.js';
import { diskError, ensureFolder } from './sink.js';
import { findWeights, type WeightsFile } from './zoo.js';

export interface PullProgress {
  name: string;
  /** Bytes here so far, those of an earlier attempt included. */
  received: number;
  /** Bytes in all; null while the server has not said. */
  total: number | null;
}

export interface PullOptions {
  /** Where the file goes. Default: `cacheDirectory()`. */
  directory?: string;
  onProgress?: (progress: PullProgress) => void;
  signal?: AbortSignal;
  /** Stands in for the global `fetch`. */
  fetch?: typeof fetch;
  /** Attempts in a row that bring nothing new before giving up. Default 5. */
  attempts?: number;
  /** Pause before the second attempt in milliseconds; doubles with each. Default 500. */
  retryDelay?: number;
}

/** The folder for downloads: `AZULEJO_CACHE`, else `~/.cache/azulejo` (Node). */
export async function cacheDirectory(): Promise<string> {
  const { homedir } = await import('node:os');
  const { join } = await import('node:path');
  return process.env.AZULEJO_CACHE || join(homedir(), '.cache', 'azulejo');
}

/**
 * Downloads an official file (Node) and returns its path; a file that is there already is not fetched again. What
 * arrives lies in `<name>.part` and is continued by the next attempt or call; the file gets its name when it is
 * complete and, where the publisher gave one, its hash is right. Throws InputError.
 */
export async function pull(name: string, options: PullOptions = {}): Promise<string> {
  const file = findWeights(name);
  const { rename, rm, stat } = await import('node:fs/promises');
  const { join } = await import('node:path');
  const directory = options.directory ?? (await cacheDirectory());
  const path = join(directory, file.name);
  const there = await stat(path).catch(() => null);
  if (there?.isFile()) {
    options.onProgress?.({ name: file.name, received: there.size, total: there.size });
    return path;
  }
  await ensureFolder(directory).catch((error: unknown) => diskError(path, error));
  const download = new Download(file, `${path}.part`, options);
  await download.run();
  await checkHash(file, `${path}.part`);
  await rename(`${path}.part`, path).catch((error: unknown) => diskError(path, error));
  await rm(`${path}.part.json`, { force: true });
  return path;
}

async function checkHash(file: WeightsFile, path: string): Promise<void> {
  if (file.sha256Prefix === null) return;
  const { createHash } = await import('node:crypto');
  const { createReadStream } = await import('node:fs');
  const { rm } = await import('node:fs/promises');
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Uint8Array);
  const found = hash.digest('hex').slice(0, 8);
  if (found === file.sha256Prefix) return;
  await rm(path, { force: true });
  await rm(`${path}.json`, { force: true });
  throw new InputError(
    `${file.name} arrived damaged: its SHA-256 starts with ${found}, expected ${file.sha256Prefix}; pull it again.`,
  );
}

/** What must be the same for a partial file to be continued. */
interface Version {
  etag: string | null;
  total: number | null;
}

/** A failure that another attempt may overcome. */
class Transient extends Error {}

const MAX_ATTEMPTS = 100;

class Download {
  private received = 0;
  private version: Version | null = null;

  constructor(
    private readonly file: WeightsFile,
    private readonly part: string,
    private readonly options: PullOptions,
  ) {}

  async run(): Promise<void> {
    const { readFile, stat } = await import('node:fs/promises');
    this.received = (await stat(this.part).catch(() => null))?.size ?? 0;
    this.version = parseVersion(await readFile(`${this.part}.json`, 'utf8').catch(() => ''));
    if (this.version === null) this.received = 0;
    const { attempts = 5, retryDelay = 500 } = this.options;
    let failures = 0;
    for (let i = 0; i < MAX_ATTEMPTS; i++) {
      const before = this.received;
      try {
        await this.attempt();
        return;
      } catch (error) {
        if (this.options.signal?.aborted) throw new InputError(`The download of ${this.file.name} was stopped.`);
        if (!(error instanceof Transient)) throw error;
        failures = this.received > before ? 1 : failures + 1;
        if (failures >= attempts || i + 1 === MAX_ATTEMPTS) {
          throw new InputError(
            `Cannot download ${this.file.name} from ${this.file.url}: ${error.message}; what arrived is kept, pull it again to continue.`,
          );
        }
        await new Promise((resolve) => setTimeout(resolve, retryDelay * 2 ** (failures - 1)));
      }
    }
  }

  private async attempt(): Promise<void> {
    const response = await this.request();
    const etag = response.headers.get('etag');
    if (response.status === 416) {
      // Nothing lies beyond what we have: complete, or of another version.
      const total = /^bytes \*\/(\d+)$/.exec(response.headers.get('content-range') ?? '')?.[1];
      await response.body?.cancel();
      if (this.received > 0 && Number(total) === this.received && this.version?.etag === etag) return;
      if (this.received === 0) throw new InputError(`The server has no bytes for ${this.file.name}.`);
      return this.restart('the server has another version');
    }
    if (!response.ok) {
      await response.body?.cancel();
      const why = `the server answered ${response.status} ${response.statusText}`.trim();
      if (response.status >= 500 || response.status === 429 || response.status === 408) throw new Transient(why);
      throw new InputError(`Cannot download ${this.file.name} from ${this.file.url}: ${why}.`);
    }
    if (response.headers.get('content-type')?.startsWith('text/html')) {
      await response.body?.cancel();
      throw new InputError(`Cannot download ${this.file.name} from ${this.file.url}: the server sent a web page.`);
    }
    let start = 0;
    let total = numberOf(response.headers.get('content-length'));
    if (response.status === 206) {
      const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
      start = range ? Number(range[1]) : -1;
      total = range ? numberOf(range[2]) : null;
      const same = this.version && this.version.etag === etag && (this.version.total ?? total) === total;
      if (start !== this.received || !same) {
        await response.body?.cancel();
        return this.restart('the server has another version');
      }
    } else if (response.headers.has('content-encoding')) {
      // Then the length given is not that of the bytes that arrive.
      total = null;
    }
    await this.save(response, start, { etag, total });
    if (total !== null && this.received !== total) {
      const after = this.received;
      if (after > total) await this.discard();
      throw new Transient(`the connection ended after ${after} of ${total} bytes`);
    }
  }

  private async request(): Promise<Response> {
    const headers: Record<string, string> = { 'accept-encoding': 'identity' };
    if (this.received > 0) {
      headers.range = `bytes=${this.received}-`;
      const etag = this.version?.etag;
      // A weak tag cannot guard a range; the size is compared instead.
      if (etag && !etag.startsWith('W/')) headers['if-range'] = etag;
    }
    try {
      return await (this.options.fetch ?? fetch)(this.file.url, { headers, signal: this.options.signal });
    } catch (error) {
      throw new Transient(causeOf(error));
    }
  }

  private async save(response: Response, start: number, version: Version): Promise<void> {
    const { open, writeFile } = await import('node:fs/promises');
    const { onProgress } = this.options;
    await this.checkSpace(version.total === null ? 0 : version.total - start);
    this.version = version;
    const handle = await open(this.part, start > 0 ? 'r+' : 'w').catch((error: unknown) => this.diskError(error));
    try {
      await writeFile(`${this.part}.json`, JSON.stringify(version)).catch((error: unknown) => this.diskError(error));
      this.received = start;
      onProgress?.({ name: this.file.name, received: start, total: version.total });
      const reader = response.body?.getReader();
      for (;;) {
        const chunk = await reader?.read().catch((error: unknown) => {
          throw new Transient(causeOf(error));
        });
        if (!chunk || chunk.done) break;
        for (let at = 0; at < chunk.value.length; ) {
          const rest = chunk.value.length - at;
          try {
            at += (await handle.write(chunk.value, at, rest, this.received + at)).bytesWritten;
          } catch (error) {
            await reader?.cancel().catch(() => {});
            this.diskError(error);
          }
        }
        this.received += chunk.value.length;
        onProgress?.({ name: this.file.name, received: this.received, total: version.total });
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  /** Refuses before the download what would fill the disk during it. */
  private async checkSpace(needed: number): Promise<void> {
    const { statfs } = await import('node:fs/promises');
    const { dirname } = await import('node:path');
    const disk = await statfs(dirname(this.part)).catch(() => null);
    const free = disk ? disk.bavail * disk.bsize : Number.POSITIVE_INFINITY;
    if (free < needed) {
      throw new InputError(
        `The disk is full: ${this.file.name} needs ${megabytes(needed)} more and ${dirname(this.part)} has ${megabytes(free)}; free some space or give another folder.`,
      );
    }
  }

  private diskError(error: unknown): never {
    if ((error as { code?: string }).code === 'ENOSPC') {
      throw new InputError(
        `The disk is full: ${this.file.name} stopped after ${megabytes(this.received)}; free some space and pull it again to continue.`,
      );
    }
    return diskError(this.part, error);
  }

  private async restart(why: string): Promise<never> {
    await this.discard();
    throw new Transient(why);
  }

  private async discard(): Promise<void> {
    const { rm } = await import('node:fs/promises');
    await rm(this.part, { force: true });
    await rm(`${this.part}.json`, { force: true });
    this.received = 0;
    this.version = null;
  }
}

function parseVersion(text: string): Version | null {
  try {
    const { etag, total } = JSON.parse(text) as Partial<Version>;
    return { etag: typeof etag === 'string' ? etag : null, total: typeof total === 'number' ? total : null };
  } catch {
    return null;
  }
}

function numberOf(text: string | null): number | null {
  return text !== null && /^\d+$/.test(text) ? Number(text) : null;
}

/** What went wrong on the wire: `fetch` hides it in the cause. */
function causeOf(error: unknown): string {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause instanceof Error && cause.message ? cause.message : messageOf(error);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
}
