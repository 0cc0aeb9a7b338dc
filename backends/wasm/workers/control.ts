/** The first bytes of the shared memory: the job that the pool works on, and the arguments of its kernel. */

/** Words (Int32) of the control block; counters that threads write lie on cache lines of their own. */
export const GENERATION = 0;
/** OPEN while workers may join the job, plus how many have joined. */
export const STATE = 16;
export const NEXT_CHUNK = 32;
/** Workers in Atomics.wait. */
export const SLEEPING = 48;
/** Workers that have started. */
export const READY = 64;
export const STOP = 80;
/** Set when a kernel trapped in a worker. */
export const FAILED = 81;
export const KERNEL = 96;
export const CODE_POINTER = 97;
export const CODE_LENGTH = 98;
export const CHUNKS = 99;
export const SCRATCH = 100;
export const SCRATCH_STRIDE = 101;

export const OPEN = 0x40000000;
export const CONTROL_WORDS = 128;
/** Where the arguments of the running kernel lie. */
export const ARGUMENTS = CONTROL_WORDS * 4;
export const RESERVED_BYTES = ARGUMENTS + 1536;

/** Entry point of every kernel module: does chunk number `chunk` of the job described at `args`. */
export type Entry = (args: number, chunk: number, scratch: number) => void;

/** Claims chunks of the current job until none is left. */
export function work(control: Int32Array, entry: Entry, scratch: number): void {
  const chunks = control[CHUNKS];
  for (;;) {
    const chunk = Atomics.add(control, NEXT_CHUNK, 1);
    if (chunk >= chunks) return;
    entry(ARGUMENTS, chunk, scratch);
  }
}
