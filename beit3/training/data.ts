/** What runs by steps share that read streams. */
import type { BatchQueue } from '../data/stream/queue.js';
import type { SteppedTask } from './task.js';

/** The batches of a queue, `count` for each step. */
export function batchesOfSteps<D, B>(queue: BatchQueue<D, B>, count: number): SteppedTask<readonly B[]>['data'] {
  return {
    next: async () => {
      const batches: B[] = [];
      for (let i = 0; i < count; i++) batches.push(await queue.next());
      return batches;
    },
    position: () => queue.position(),
    restore: (position) => queue.restore(position),
    close: () => queue.close(),
  };
}
