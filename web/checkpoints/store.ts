/** Files that stay in the browser (its origin private file system) from visit to visit. Runs in a worker. */
import { InputError } from '../../core/errors.js';
import { type FileKind, kindOf } from './kinds.js';

export interface StoredFile {
  readonly id: string;
  readonly name: string;
  readonly kind: FileKind;
  readonly bytes: number;
  /** The address it came from; null for a file of the person's own. */
  readonly address: string | null;
}

export type NewFile = Omit<StoredFile, 'id' | 'bytes'>;

export interface Store {
  /** Whether files outlive the page. */
  readonly lasting: boolean;
  list(): Promise<StoredFile[]>;
  /**
   * Keeps what a stream gives, as it comes. `check` sees the whole file; what it refuses is not kept. A file is listed
   * only when it is whole.
   */
  add(about: NewFile, bytes: ReadableStream<Uint8Array>, check: (file: File) => Promise<void>): Promise<StoredFile>;
  /** The content; it stays on the disk until it is read. Throws InputError for a file that is gone. */
  file(id: string): Promise<File>;
  remove(id: string): Promise<void>;
}

/** The store of this browser, or one in memory where the browser gives none. */
export async function openStore(): Promise<Store> {
  try {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle('azulejo', { create: true });
    const store = new DiskStore(folder);
    await store.clean();
    return store;
  } catch {
    return new MemoryStore();
  }
}

/** Of the file system's types only those of pages are known to TypeScript here. */
interface SyncHandle {
  write(bytes: Uint8Array, options: { at: number }): number;
  flush(): void;
  close(): void;
}
type WorkerFileHandle = FileSystemFileHandle & { createSyncAccessHandle(): Promise<SyncHandle> };

/** How browsers name the error of a full disk. */
const QUOTA = 'QuotaExceededError';
const DATA = '.data';
const ABOUT = '.json';

/**
 * A file is two: its bytes, and a description that is written when all bytes are there. Bytes without a description
 * are of a download that ended early. While one is written its lock is held, so that no other tab cleans it away.
 */
class DiskStore implements Store {
  readonly lasting = true;
  constructor(private readonly folder: FileSystemDirectoryHandle) {}

  async list(): Promise<StoredFile[]> {
    const found: StoredFile[] = [];
    for (const name of await this.#names()) {
      if (!name.endsWith(ABOUT)) continue;
      const about = await this.#about(name.slice(0, -ABOUT.length));
      if (about) found.push(about);
    }
    return found.sort((a, b) => a.name.localeCompare(b.name) || a.id.localeCompare(b.id));
  }

  async add(
    about: NewFile,
    bytes: ReadableStream<Uint8Array>,
    check: (file: File) => Promise<void>,
  ): Promise<StoredFile> {
    const id = crypto.randomUUID();
    return await navigator.locks.request(lockOf(id), async () => {
      try {
        const size = await this.#write(id + DATA, bytes);
        await check(await this.#open(id, about.name));
        const stored: StoredFile = { ...about, id, bytes: size };
        await this.#write(id + ABOUT, new Blob([JSON.stringify(stored)]).stream());
        return stored;
      } catch (error) {
        await this.remove(id);
        if ((error as Error | null)?.name !== QUOTA) throw error;
        throw new InputError(
          `The browser has no room to keep ${about.name}; delete files that are kept, then try again.`,
        );
      }
    });
  }

  async file(id: string): Promise<File> {
    const about = await this.#about(id);
    if (!about) throw new InputError('A file of this model is not kept any more; choose another one.');
    return this.#open(id, about.name);
  }

  async remove(id: string): Promise<void> {
    // The description first: bytes alone do not count.
    for (const ending of [ABOUT, DATA]) {
      await this.folder.removeEntry(id + ending).catch((error: unknown) => {
        if ((error as Error | null)?.name !== 'NotFoundError') throw error;
      });
    }
  }

  /** Removes what downloads that ended early have left. */
  async clean(): Promise<void> {
    const names = await this.#names();
    const whole = new Set((await this.list()).map(({ id }) => id));
    for (const id of new Set(names.map((name) => name.replace(/\.\w+$/, '')))) {
      if (whole.has(id)) continue;
      await navigator.locks.request(lockOf(id), { ifAvailable: true }, async (lock) => {
        // It may have become whole since.
        if (lock !== null && !(await this.#about(id))) await this.remove(id).catch(() => {});
      });
    }
  }

  async #names(): Promise<string[]> {
    const names: string[] = [];
    for await (const name of (this.folder as unknown as { keys(): AsyncIterable<string> }).keys()) names.push(name);
    return names;
  }

  /** The description of a file that is whole. */
  async #about(id: string): Promise<StoredFile | null> {
    try {
      const text = await (await (await this.folder.getFileHandle(id + ABOUT)).getFile()).text();
      const { name, kind, bytes, address } = JSON.parse(text) as StoredFile;
      const data = await (await this.folder.getFileHandle(id + DATA)).getFile();
      const isWhole = typeof name === 'string' && kindOf(name) === kind && data.size === bytes;
      return isWhole ? { id, name, kind, bytes, address } : null;
    } catch {
      return null;
    }
  }

  /** Under its own name, which messages tell. */
  async #open(id: string, name: string): Promise<File> {
    return new File([await (await this.folder.getFileHandle(id + DATA)).getFile()], name);
  }

  async #write(name: string, bytes: ReadableStream<Uint8Array>): Promise<number> {
    const handle = await this.folder.getFileHandle(name, { create: true });
    const file = await (handle as WorkerFileHandle).createSyncAccessHandle();
    const reader = bytes.getReader();
    let at = 0;
    try {
      for (let step = await reader.read(); !step.done; step = await reader.read()) {
        for (let from = 0; from < step.value.length; ) {
          const written = file.write(from === 0 ? step.value : step.value.subarray(from), { at });
          // Chromium throws nothing on a full disk, and returns a negative number without its sign.
          if (!(written > 0 && written <= step.value.length - from)) throw new DOMException('no room', QUOTA);
          from += written;
          at += written;
        }
      }
      file.flush();
      return at;
    } finally {
      file.close();
      await reader.cancel().catch(() => {});
    }
  }
}

const lockOf = (id: string): string => `azulejo-${id}`;

/** For browsers that keep nothing, such as private windows of some. */
class MemoryStore implements Store {
  readonly lasting = false;
  readonly #files = new Map<string, { readonly about: StoredFile; readonly file: File }>();
  #ids = 0;

  async list(): Promise<StoredFile[]> {
    return [...this.#files.values()].map(({ about }) => about);
  }

  async add(
    about: NewFile,
    bytes: ReadableStream<Uint8Array>,
    check: (file: File) => Promise<void>,
  ): Promise<StoredFile> {
    const file = new File([await new Response(bytes as ReadableStream<Uint8Array<ArrayBuffer>>).blob()], about.name);
    await check(file);
    const stored: StoredFile = { ...about, id: `memory-${++this.#ids}`, bytes: file.size };
    this.#files.set(stored.id, { about: stored, file });
    return stored;
  }

  async file(id: string): Promise<File> {
    const kept = this.#files.get(id);
    if (!kept) throw new InputError('A file of this model is not kept any more; choose another one.');
    return kept.file;
  }

  async remove(id: string): Promise<void> {
    this.#files.delete(id);
  }
}
