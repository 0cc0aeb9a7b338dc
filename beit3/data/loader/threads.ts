/** Threads that load pictures. Node only. */

import { Worker } from 'node:worker_threads';
import { InputError, messageOf } from '../../../core/errors.js';
import type { TransformSpec } from '../transforms/index.js';
import { BrokenPicture, type LoadedPictures, type PictureJob, type PictureLoader } from './pictures.js';
import type { Answer, Request } from './worker.js';

interface Waiting {
  readonly resolve: (loaded: LoadedPictures) => void;
  readonly reject: (error: Error) => void;
}

interface Thread {
  readonly worker: Worker;
  readonly waiting: Map<number, Waiting>;
}

/**
 * Starts `count` threads. When one of them dies (out of memory, say) all that is asked of them, then and later, is
 * refused with one sentence.
 */
export async function startThreads(count: number, transform: TransformSpec): Promise<PictureLoader> {
  // The library must be loaded here first, or it is unloaded with the first thread that ends and missing in the next.
  await import('sharp').catch(() => undefined);
  let ended: Error | null = null;
  let ids = 0;
  const threads = Array.from({ length: count }, start);

  function start(): Thread {
    const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: transform, execArgv: [] });
    const thread: Thread = { worker, waiting: new Map() };
    worker.unref();
    worker.on('message', (answer: Answer) => {
      const waiting = thread.waiting.get(answer.id);
      if (!waiting) return;
      thread.waiting.delete(answer.id);
      if (thread.waiting.size === 0) worker.unref();
      if ('loaded' in answer) waiting.resolve(answer.loaded);
      else if ('broken' in answer) waiting.reject(new BrokenPicture(answer.broken));
      else if ('refused' in answer) waiting.reject(new InputError(answer.refused));
      else waiting.reject(new Error(`A picture could not be loaded: ${answer.failure}`));
    });
    worker.on('error', (error) => end(died(messageOf(error))));
    worker.on('messageerror', (error) => end(died(messageOf(error))));
    worker.on('exit', (code) => end(died(`it exited with ${code}`)));
    return thread;
  }

  function end(why: Error): void {
    if (ended !== null) return;
    ended = why;
    for (const { waiting, worker } of threads) {
      for (const { reject } of waiting.values()) reject(ended);
      waiting.clear();
      worker.unref();
      void worker.terminate();
    }
  }

  return {
    load: (job: PictureJob) =>
      new Promise((resolve, reject) => {
        if (ended !== null) return reject(ended);
        const thread = threads.reduce((least, other) => (other.waiting.size < least.waiting.size ? other : least));
        // Addresses cannot be sent as objects.
        const pictures = job.pictures.map((source) => (source instanceof URL ? source.href : source));
        const request: Request = { id: ids++, job: { ...job, pictures } };
        thread.worker.postMessage(request);
        thread.waiting.set(request.id, { resolve, reject });
        // A program waits for work that is under way, and for nothing else.
        if (thread.waiting.size === 1) thread.worker.ref();
      }),
    close: async () => {
      end(new InputError('The loader was closed while it was loading.'));
      // A program that has nothing left to do but this must not end before.
      for (const { worker } of threads) worker.ref();
      await Promise.all(threads.map(({ worker }) => worker.terminate()));
    },
  };
}

function died(why: string): InputError {
  const reason = why.replace(/\s+/g, ' ').replace(/\.$/, '');
  return new InputError(`A thread that loads pictures died (${reason}); use fewer of them, or smaller pictures.`);
}
