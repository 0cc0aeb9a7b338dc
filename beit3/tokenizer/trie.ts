/**
 * A prefix tree over byte strings. Nodes are numbered breadth first from the sorted keys, so the children of a node lie
 * side by side in the order of their bytes and one is found by halving: no key can make a step slow.
 */
export class ByteTrie {
  private constructor(
    private readonly labels: Uint8Array,
    /** Children of node n are firstChild[n] .. firstChild[n + 1] - 1. */
    private readonly firstChild: Uint32Array,
    private readonly values: Int32Array,
  ) {}

  /**
   * Key i is bytes[starts[i] .. ends[i]], not empty, and has the value i; `keys` are the i to take.
   * Returns the value of a key that is there twice, where there is one, in place of the trie.
   */
  static build(bytes: Uint8Array, starts: Uint32Array, ends: Uint32Array, keys: Uint32Array): ByteTrie | number {
    keys.sort((a, b) => {
      const shorter = Math.min(ends[a] - starts[a], ends[b] - starts[b]);
      for (let i = 0; i < shorter; i++) {
        const difference = bytes[starts[a] + i] - bytes[starts[b] + i];
        if (difference !== 0) return difference;
      }
      return ends[a] - starts[a] - (ends[b] - starts[b]);
    });

    let nodeCount = 1;
    for (let i = 0; i < keys.length; i++) {
      const [key, before] = [keys[i], keys[i - 1]];
      const length = ends[key] - starts[key];
      let shared = 0;
      if (i > 0) {
        const shorter = Math.min(length, ends[before] - starts[before]);
        while (shared < shorter && bytes[starts[key] + shared] === bytes[starts[before] + shared]) shared++;
      }
      if (shared === length) return key;
      nodeCount += length - shared;
    }

    const labels = new Uint8Array(nodeCount);
    const firstChild = new Uint32Array(nodeCount + 1);
    const values = new Int32Array(nodeCount).fill(-1);
    // Node n stands for the keys from[n] .. to[n] - 1, which agree in their first depth[n] bytes.
    const from = new Uint32Array(nodeCount);
    const to = new Uint32Array(nodeCount);
    const depth = new Uint16Array(nodeCount);
    to[0] = keys.length;
    let made = 1;
    for (let node = 0; node < nodeCount; node++) {
      firstChild[node] = made;
      const d = depth[node];
      let i = from[node];
      // The shortest key comes first; only it can end here.
      if (i < to[node] && ends[keys[i]] - starts[keys[i]] === d) values[node] = keys[i++];
      while (i < to[node]) {
        const label = bytes[starts[keys[i]] + d];
        const first = i;
        while (i < to[node] && bytes[starts[keys[i]] + d] === label) i++;
        labels[made] = label;
        from[made] = first;
        to[made] = i;
        depth[made] = d + 1;
        made++;
      }
    }
    firstChild[nodeCount] = made;
    return new ByteTrie(labels, firstChild, values);
  }

  /** The child of `node` along `byte`, or -1. The root is node 0. */
  step(node: number, byte: number): number {
    let low = this.firstChild[node];
    let high = this.firstChild[node + 1] - 1;
    while (low <= high) {
      const middle = (low + high) >>> 1;
      const label = this.labels[middle];
      if (label === byte) return middle;
      if (label < byte) low = middle + 1;
      else high = middle - 1;
    }
    return -1;
  }

  /** The value of the key that ends at `node`, or -1. */
  valueAt(node: number): number {
    return this.values[node];
  }
}
