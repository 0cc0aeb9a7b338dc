/** A name from a file as it may stand in a message: short, on one line. */
export function shown(name: string): string {
  const line = name.slice(0, 100).replace(/[^\x20-\x7e\xa0-\uffff]/g, '?');
  return name.length > 100 ? `${line}...` : line;
}
