/** The page's side of the engine. */
import type { CallName, Calls, Progress, Reply, Request } from './protocol.js';

/** A call that did not succeed; the message is one sentence. */
export class EngineError extends Error {
  override name = 'EngineError';
  constructor(
    message: string,
    /** True when what was given is to blame, and not the engine. */
    readonly isRefusal: boolean,
  ) {
    super(message);
  }
}

interface Waiting {
  readonly resolve: (output: Calls[CallName]['output']) => void;
  readonly reject: (error: EngineError) => void;
  readonly onProgress?: (progress: Progress) => void;
}

/** Owns the worker; when it dies or is restarted every call under way ends with an error. */
export class Engine {
  readonly #waiting = new Map<number, Waiting>();
  #ids = 0;
  #worker: Worker | null = null;

  /** `onDeath` is told, in one sentence, when the worker has ended by itself. */
  constructor(private readonly onDeath: (sentence: string) => void) {}

  call<C extends CallName>(
    call: C,
    input: Calls[C]['input'],
    onProgress?: (progress: Progress) => void,
  ): Promise<Calls[C]['output']> {
    return new Promise<Calls[CallName]['output']>((resolve, reject) => {
      this.#worker ??= this.#start();
      const id = ++this.#ids;
      this.#waiting.set(id, { resolve, reject, onProgress });
      this.#worker.postMessage({ id, call, input } as Request);
    }) as Promise<Calls[C]['output']>;
  }

  /** Ends the worker and what it does; the next call starts another. */
  stop(why = 'It was stopped.'): void {
    this.#worker?.terminate();
    this.#worker = null;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(new EngineError(why, true));
  }

  #start(): Worker {
    // The name that the build gives to worker.ts.
    const worker = new Worker(new URL('./engine.js', import.meta.url), { type: 'module' });
    let hasAnswered = false;
    worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      hasAnswered = true;
      this.#take(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      const why = event.message ? ` (${event.message})` : '';
      const what = hasAnswered ? 'The engine has ended' : 'The engine could not be started';
      const sentence = `${what}${why}; restart it.`;
      this.stop(sentence);
      this.onDeath(sentence);
    };
    return worker;
  }

  #take(reply: Reply): void {
    const waiting = this.#waiting.get(reply.id);
    if (!waiting) return;
    if ('progress' in reply) {
      waiting.onProgress?.(reply.progress);
      return;
    }
    this.#waiting.delete(reply.id);
    if ('output' in reply) waiting.resolve(reply.output);
    else if ('refused' in reply) waiting.reject(new EngineError(reply.refused, true));
    else waiting.reject(new EngineError(`${reply.failed} Run it again to go on with a fresh device.`, false));
  }
}
