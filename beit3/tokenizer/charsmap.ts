/**
 * The replacement table of a SentencePiece model (for nmt_nfkc: NFKC, with odd spaces made plain and control characters
 * removed). In the file: the size of a trie in bytes, the trie as a double array in the format of the Darts-clone
 * library, then the replacement strings, each ended by a null; a trie value is where in them a replacement begins.
 */

/** Matches beyond this many prefixes of one text are not looked at: SentencePiece's own limit. */
const MAX_MATCHES = 32;
/** No rule is longer; a damaged trie that goes round in circles stops here. */
const MAX_RULE_BYTES = 1024;
/** No replacement may be longer, so that a hostile table cannot blow up a text without bound. */
const MAX_REPLACEMENT_BYTES = 1024;

export class Charsmap {
  /** Length in bytes of the match that `find` found. */
  matched = 0;
  /** Where in `replacements` the replacement of that match begins and ends. */
  start = 0;
  end = 0;

  private constructor(
    private readonly units: Uint32Array,
    readonly replacements: Uint8Array,
  ) {}

  /** Reads the table; a string in its place says what is wrong with it. */
  static read(bytes: Uint8Array): Charsmap | string {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < 8) return 'its normalisation table is too short';
    const trieBytes = view.getUint32(0, true);
    if (trieBytes < 4 || trieBytes % 4 !== 0 || trieBytes >= bytes.length - 4) {
      return 'the trie of its normalisation table does not fit';
    }
    const units = new Uint32Array(trieBytes / 4);
    for (let i = 0; i < units.length; i++) units[i] = view.getUint32(4 + 4 * i, true);
    const replacements = bytes.slice(4 + trieBytes);

    if (replacements[replacements.length - 1] !== 0) return 'its normalisation table has no end';
    let length = 0;
    for (const byte of replacements) {
      length = byte === 0 ? 0 : length + 1;
      if (length > MAX_REPLACEMENT_BYTES) return 'its normalisation table has an endless replacement';
    }
    for (let i = 0; i < units.length; i++) {
      if (units[i] >= 0x80000000 || !hasLeaf(units[i])) continue;
      const leaf = (i ^ offsetOf(units[i])) >>> 0;
      if (leaf >= units.length || (units[leaf] & 0x7fffffff) >= replacements.length) {
        return 'its normalisation table points outside itself';
      }
    }
    return new Charsmap(units, replacements);
  }

  /** Finds the longest rule that begins text[at]; true where there is one, described by the fields above. */
  find(text: Uint8Array, at: number): boolean {
    const { units } = this;
    const stop = Math.min(text.length, at + MAX_RULE_BYTES);
    let node = offsetOf(units[0]);
    let value = -1;
    let matches = 0;
    for (let i = at; i < stop && matches < MAX_MATCHES; i++) {
      node = (node ^ text[i]) >>> 0;
      if (node >= units.length) break;
      const unit = units[node];
      // A leaf has its top bit set, so it is nobody's child by label.
      if ((unit & 0x800000ff) !== text[i]) break;
      node = (node ^ offsetOf(unit)) >>> 0;
      if (hasLeaf(unit)) {
        value = units[node] & 0x7fffffff;
        this.matched = i + 1 - at;
        matches++;
      }
    }
    if (value < 0) return false;
    this.start = value;
    this.end = this.replacements.indexOf(0, value);
    return true;
  }
}

function hasLeaf(unit: number): boolean {
  return (unit & 0x100) !== 0;
}

/** From a unit to its children; bit 9 says that the offset is counted in 256s. */
function offsetOf(unit: number): number {
  return ((unit >>> 10) << ((unit & 0x200) >>> 6)) >>> 0;
}
