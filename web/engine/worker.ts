/** Program of the engine's worker: calls in, progress and one answer out. */
import '../../core/methods.js';
import { handlers, isRefusal, sentenceOf } from './engine.js';
import type { CallName, Calls, Progress, Reply, Request } from './protocol.js';

/** Progress is told this often at most: a page redraws no faster. */
const MILLISECONDS = 50;

const send = (reply: Reply): void => self.postMessage(reply);

self.onmessage = async ({ data }: MessageEvent<Request>) => {
  const { id, call, input } = data;
  let told = 0;
  /** What was last reported, while it waits to be told: a download that stalls must not look like an earlier one. */
  let waiting: Progress | null = null;
  let ended = false;
  const flush = (): void => {
    if (waiting === null || ended) return;
    told = performance.now();
    send({ id, progress: waiting });
    waiting = null;
  };
  const tell = (progress: Progress): void => {
    const isScheduled = waiting !== null;
    waiting = progress;
    const rest = told + MILLISECONDS - performance.now();
    if (rest <= 0 || progress.done === progress.total) flush();
    else if (!isScheduled) setTimeout(flush, rest);
  };
  try {
    const handler = handlers[call] as (
      given: typeof input,
      onProgress: typeof tell,
    ) => Promise<Calls[CallName]['output']>;
    const output = await handler(input, tell);
    ended = true;
    send({ id, output });
  } catch (error) {
    ended = true;
    const sentence = sentenceOf(error);
    send(isRefusal(error) ? { id, refused: sentence } : { id, failed: sentence });
  }
};
