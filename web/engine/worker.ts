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
  const tell = (progress: Progress): void => {
    const now = performance.now();
    if (now - told < MILLISECONDS && progress.done !== progress.total) return;
    told = now;
    send({ id, progress });
  };
  try {
    const handler = handlers[call] as (
      given: typeof input,
      onProgress: typeof tell,
    ) => Promise<Calls[CallName]['output']>;
    send({ id, output: await handler(input, tell) });
  } catch (error) {
    const sentence = sentenceOf(error);
    send(isRefusal(error) ? { id, refused: sentence } : { id, failed: sentence });
  }
};
