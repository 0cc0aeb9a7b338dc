/** The page's elements. */

/** The element of an id, of the kind that is expected there. */
export function byId<E extends HTMLElement>(id: string, kind: new () => E): E {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/** A new element with properties and children; texts stay texts. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A radio button with its label and, below, a note. */
export function radio(
  name: string,
  value: string,
  text: string,
  { note = '', disabled = false, checked = false }: { note?: string; disabled?: boolean; checked?: boolean },
): HTMLElement {
  const id = `${name}-${value}`;
  const input = make('input', { type: 'radio', name, value, id, disabled, checked });
  const label = make('label', {}, input, ` ${text}`);
  if (note === '') return make('div', {}, label);
  const small = make('small', { id: `${id}-note` }, note);
  input.setAttribute('aria-describedby', small.id);
  return make('div', {}, label, small);
}

/** The value of the chosen radio button of a name; null where none is. */
export function chosen(name: string): string | null {
  return document.querySelector<HTMLInputElement>(`input[name="${name}"]:checked`)?.value ?? null;
}

/** Fills a select and keeps its choice where it is still there. */
export function fill(select: HTMLSelectElement, options: readonly (readonly [value: string, text: string])[]): void {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => make('option', { value }, text)));
  if (options.some(([value]) => value === before)) select.value = before;
}

export function size(bytes: number): string {
  if (bytes < 1000) return `${bytes} bytes`;
  if (bytes < 1e6) return `${(bytes / 1e3).toFixed(1)} kB`;
  return bytes < 1e9 ? `${(bytes / 1e6).toFixed(1)} MB` : `${(bytes / 1e9).toFixed(2)} GB`;
}

/** "340 ms", "2.1 s". */
export function duration(ms: number): string {
  return ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
