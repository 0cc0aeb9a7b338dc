/** Text as Python writes it, so that our index files equal the reference's byte for byte. */

/** A text as json.dumps writes it: ASCII alone, everything else as \uXXXX in UTF-16 units. */
export function pythonString(text: string): string {
  // JSON.stringify leaves U+007F and above as they are.
  return JSON.stringify(text).replace(/[\x7f-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** A float as Python's repr writes it: 1.0, 0.3, 1e-05, 1e+16. */
export function pythonFloat(value: number): string {
  if (!Number.isFinite(value)) throw new RangeError(`JSON has no number ${value}`);
  const negative = value < 0 || Object.is(value, -0) ? '-' : '';
  // Both languages print the shortest digits that read back as the same number; only the layout differs.
  const [mantissa, power] = Math.abs(value).toExponential().split('e');
  const exponent = Number(power);
  if (exponent < -4 || exponent >= 16)
    return `${negative}${mantissa}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
  const text = String(Math.abs(value));
  // JavaScript changes to exponents below 1e-6 and above 1e21 only, outside the range left here.
  return `${negative}${text}${text.includes('.') ? '' : '.0'}`;
}

/**
 * A value as json.dumps(value) writes it, keys in their order. JavaScript has one kind of number: those below a key
 * in `floats` are written as floats (1.0), all others as they are.
 */
export function pythonJson(value: unknown, floats: ReadonlySet<string> = new Set(), isFloat = false): string {
  if (typeof value === 'string') return pythonString(value);
  if (typeof value === 'number') return isFloat ? pythonFloat(value) : String(value);
  if (value === null || typeof value === 'boolean') return String(value);
  if (Array.isArray(value)) return `[${value.map((item) => pythonJson(item, floats, isFloat)).join(', ')}]`;
  if (typeof value !== 'object') throw new TypeError(`JSON has no ${typeof value}`);
  const fields = Object.entries(value).map(
    ([key, item]) => `${pythonString(key)}: ${pythonJson(item, floats, floats.has(key))}`,
  );
  return `{${fields.join(', ')}}`;
}

/** os.path.join: a part that starts with / forgets those before it. */
export function pythonJoin(...parts: readonly string[]): string {
  return parts.reduce((path, part) => {
    if (part.startsWith('/')) return part;
    return path === '' || path.endsWith('/') ? path + part : `${path}/${part}`;
  });
}

/** The order of Python's sorted() for texts: by code point, where JavaScript compares UTF-16 units. */
export function byCodePoint(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    const isPairX = x >= 0xd800 && x <= 0xdfff;
    const isPairY = y >= 0xd800 && y <= 0xdfff;
    return isPairX === isPairY ? x - y : isPairX ? 1 : -1;
  }
  return a.length - b.length;
}
