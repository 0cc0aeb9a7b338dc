/**
 * Python's `random.Random(seed).shuffle`: the Mersenne Twister MT19937 of Matsumoto and Nishimura (1998), seeded by
 * their init_by_array. The VQAv2 index of the reference is shuffled by it; with the same seed ours has the same rows.
 */
const N = 624;
const M = 397;

export class PythonRandom {
  private readonly state = new Uint32Array(N);
  private at = N;

  /** `seed` is a whole number from 0 to 2^53 - 1. */
  constructor(seed: number) {
    if (!Number.isSafeInteger(seed) || seed < 0) throw new RangeError(`a seed is a whole number from 0, not ${seed}`);
    const high = Math.floor(seed / 2 ** 32);
    this.fill(high === 0 ? [seed >>> 0] : [seed >>> 0, high]);
  }

  /** Reorders `items` in place. */
  shuffle<T>(items: T[]): void {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [items[i], items[j]] = [items[j], items[i]];
    }
  }

  /** A whole number from 0 to n - 1, each as likely; n is below 2^32. */
  private below(n: number): number {
    const bits = 32 - Math.clz32(n);
    let value = this.next() >>> (32 - bits);
    while (value >= n) value = this.next() >>> (32 - bits);
    return value;
  }

  private fill(key: readonly number[]): void {
    const { state } = this;
    state[0] = 19650218;
    for (let i = 1; i < N; i++) state[i] = Math.imul(1812433253, state[i - 1] ^ (state[i - 1] >>> 30)) + i;
    let i = 1;
    const advance = (): void => {
      i++;
      if (i < N) return;
      state[0] = state[N - 1];
      i = 1;
    };
    for (let k = 0; k < N; k++) {
      const j = k % key.length;
      const before = state[i - 1] ^ (state[i - 1] >>> 30);
      state[i] = (state[i] ^ Math.imul(before, 1664525)) + key[j] + j;
      advance();
    }
    for (let k = 0; k < N - 1; k++) {
      const before = state[i - 1] ^ (state[i - 1] >>> 30);
      state[i] = (state[i] ^ Math.imul(before, 1566083941)) - i;
      advance();
    }
    state[0] = 0x80000000;
  }

  private next(): number {
    if (this.at === N) this.twist();
    let y = this.state[this.at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  private twist(): void {
    const { state } = this;
    for (let k = 0; k < N; k++) {
      const y = (state[k] & 0x80000000) | (state[(k + 1) % N] & 0x7fffffff);
      state[k] = state[(k + M) % N] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
    }
    this.at = 0;
  }
}
