/** The pictures that a person gave. */
import { byId, make } from './dom.js';

export interface Picture {
  readonly id: string;
  readonly name: string;
  readonly file: File;
}

export class Pictures {
  readonly #list = byId('pictures', HTMLUListElement);
  readonly #items = new Map<
    string,
    { readonly picture: Picture; readonly url: string; readonly element: HTMLElement }
  >();
  #ids = 0;

  /** `onChange` is called when pictures came or went. */
  constructor(private readonly onChange: () => void) {}

  get all(): Picture[] {
    return [...this.#items.values()].map(({ picture }) => picture);
  }

  get(id: string): Picture | undefined {
    return this.#items.get(id)?.picture;
  }

  /** Adds a file. Throws an Error, one sentence, for one that this browser does not show as a picture. */
  async add(file: File): Promise<void> {
    const url = URL.createObjectURL(file);
    const image = make('img', { src: url, alt: '', decoding: 'async' });
    try {
      await image.decode();
    } catch {
      URL.revokeObjectURL(url);
      throw new Error(
        `${file.name || 'This'} is no picture that this browser can read; give a PNG, JPEG, WebP, GIF or AVIF file.`,
      );
    }
    const id = `picture-${++this.#ids}`;
    const twins = this.all.filter(({ name }) => name === file.name || name.startsWith(`${file.name} (`)).length;
    const name = twins === 0 ? file.name : `${file.name} (${twins + 1})`;
    const remove = make('button', { type: 'button', ariaLabel: `Remove ${name}` }, 'Remove');
    remove.addEventListener('click', () => this.#remove(id));
    const element = make('li', {}, image, make('span', {}, name), ' ', remove);
    this.#items.set(id, { picture: { id, name, file }, url, element });
    this.#list.append(element);
    this.onChange();
  }

  #remove(id: string): void {
    const item = this.#items.get(id);
    if (!item) return;
    URL.revokeObjectURL(item.url);
    item.element.remove();
    this.#items.delete(id);
    this.onChange();
  }
}

/** Side of a drawn emoji in pixels. */
const SIDE = 128;

/** Draws a character with the fonts of this machine, on white. */
export async function drawEmoji(text: string): Promise<File> {
  const canvas = make('canvas', { width: SIDE, height: SIDE });
  const context = canvas.getContext('2d');
  if (!context) throw new Error('This browser gives no canvas to draw on.');
  context.fillStyle = 'white';
  context.fillRect(0, 0, SIDE, SIDE);
  context.fillStyle = 'black';
  context.font = `${SIDE * 0.78}px "Noto Color Emoji", "Apple Color Emoji", "Segoe UI Emoji", sans-serif`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.fillText(text, SIDE / 2, SIDE * 0.54, SIDE);
  const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/png'));
  if (!blob) throw new Error('This browser cannot save what it draws.');
  return new File([blob], text, { type: 'image/png' });
}
