/**
 * Allocator over an address range that can grow: segregated good fit with immediate merging of neighbours. Sizes are
 * rounded to 64 bytes only, so large blocks waste nothing.
 */
export const ALIGNMENT = 64;

interface Free {
  start: number;
  size: number;
  bin: number;
  previous: Free | null;
  next: Free | null;
}

const BINS = 16 * 30;

/** Bins are exact below 1 KiB and 16 a doubling above. */
function binOf(size: number): number {
  const units = size / ALIGNMENT;
  if (units < 16) return units;
  const log = 31 - Math.clz32(units);
  return 16 * (log - 3) + ((units >>> (log - 4)) & 15);
}

export class Allocator {
  private readonly heads = new Array<Free | null>(BINS).fill(null);
  private readonly occupied = new Int32Array(BINS / 32);
  private readonly byStart = new Map<number, Free>();
  private readonly byEnd = new Map<number, Free>();
  private readonly used = new Map<number, number>();
  private end: number;

  /** `extend(bytes)` makes at least that much room after the current end and returns the new end, or null. */
  constructor(
    start: number,
    end: number,
    private readonly extend: (bytes: number) => number | null,
  ) {
    this.end = end;
    if (end > start) this.insert(start, end - start);
  }

  /** Address of a new block of at least `bytes` bytes, or null when there is no room. */
  alloc(bytes: number): number | null {
    const size = Math.max(ALIGNMENT, Math.ceil(bytes / ALIGNMENT) * ALIGNMENT);
    const free = this.find(size) ?? this.grow(size);
    if (!free) return null;
    this.remove(free);
    if (free.size > size) this.insert(free.start + size, free.size - size);
    this.used.set(free.start, size);
    return free.start;
  }

  free(start: number): void {
    const size = this.used.get(start);
    if (size === undefined) throw new Error('a block of memory was freed twice');
    this.used.delete(start);
    this.release(start, size);
  }

  private release(start: number, size: number): void {
    let from = start;
    let to = start + size;
    const before = this.byEnd.get(from);
    if (before) {
      this.remove(before);
      from = before.start;
    }
    const after = this.byStart.get(to);
    if (after) {
      this.remove(after);
      to = after.start + after.size;
    }
    this.insert(from, to - from);
  }

  private find(size: number): Free | null {
    const bin = binOf(size);
    let best: Free | null = null;
    for (let f = this.heads[bin]; f; f = f.next) {
      if (f.size >= size && (!best || f.size < best.size)) best = f;
      if (best?.size === size) break;
    }
    if (best) return best;
    let word = (bin + 1) >>> 5;
    let bits = this.occupied[word] & (-1 << ((bin + 1) & 31));
    for (;;) {
      if (bits !== 0) return this.heads[word * 32 + (31 - Math.clz32(bits & -bits))];
      if (++word >= this.occupied.length) return null;
      bits = this.occupied[word];
    }
  }

  private grow(size: number): Free | null {
    const last = this.byEnd.get(this.end);
    const newEnd = this.extend(size - (last?.size ?? 0));
    if (newEnd === null) return null;
    const from = this.end;
    this.end = newEnd;
    this.release(from, newEnd - from);
    return this.byEnd.get(newEnd) ?? null;
  }

  private insert(start: number, size: number): void {
    const bin = binOf(size);
    const free: Free = { start, size, bin, previous: null, next: this.heads[bin] };
    if (free.next) free.next.previous = free;
    this.heads[bin] = free;
    this.occupied[bin >>> 5] |= 1 << (bin & 31);
    this.byStart.set(start, free);
    this.byEnd.set(start + size, free);
  }

  private remove(free: Free): void {
    if (free.next) free.next.previous = free.previous;
    if (free.previous) free.previous.next = free.next;
    else {
      this.heads[free.bin] = free.next;
      if (!free.next) this.occupied[free.bin >>> 5] &= ~(1 << (free.bin & 31));
    }
    this.byStart.delete(free.start);
    this.byEnd.delete(free.start + free.size);
  }
}
