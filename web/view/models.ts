/** The model that answers: its files, those that are kept, and how they get here. */
import { type FileKind, kindOf, MODEL_ENDINGS } from '../checkpoints/kinds.js';
import type { StoredFile } from '../checkpoints/store.js';
import type { Engine } from '../engine/client.js';
import { type Model, type ModelChoice, type Progress, SHIPPED, TASKS } from '../engine/protocol.js';
import { byId, fill, make, size } from './dom.js';

const NONE = '';
/** Where the choice is remembered. */
const REMEMBERED = 'azulejo-model';

/** How the models' part of the page tells the rest of it. */
export interface ModelEvents {
  /** Does work that a person asked for; tells its progress and what goes wrong. */
  during<T>(what: string, work: (onProgress: (progress: Progress) => void) => Promise<T>): Promise<T | undefined>;
  /** Another model is open; null while there is none. */
  onModel(model: Model | null): void;
}

export class Models {
  readonly #selects: Readonly<Record<FileKind, HTMLSelectElement>> = {
    checkpoint: byId('checkpoint', HTMLSelectElement),
    tokenizer: byId('tokenizer', HTMLSelectElement),
    labels: byId('labels', HTMLSelectElement),
  };
  readonly #note = byId('model-note', HTMLParagraphElement);
  readonly #stored = byId('stored', HTMLUListElement);

  constructor(
    private readonly engine: Engine,
    private readonly events: ModelEvents,
  ) {
    byId('model', HTMLFormElement).addEventListener('change', () => void this.open());
    const address = byId('address', HTMLInputElement);
    const button = byId('fetch-button', HTMLButtonElement);
    byId('fetch', HTMLFormElement).addEventListener('submit', async (event) => {
      event.preventDefault();
      button.disabled = true;
      const fetched = await this.#get('Fetching', (tell) => engine.call('fetch', { address: address.value }, tell));
      button.disabled = false;
      if (fetched) address.value = '';
    });
    const files = byId('model-files', HTMLInputElement);
    files.accept = MODEL_ENDINGS;
    files.addEventListener('change', async () => {
      const given = [...(files.files ?? [])];
      files.value = '';
      await this.keep(given);
    });
  }

  /** Lists what is kept and opens the model that was chosen last. */
  async begin(): Promise<void> {
    const known = await this.#list();
    if (!known) return;
    const { checkpoint, tokenizer, labels } = remembered();
    const ids = new Set(known.map(({ id }) => id));
    if (checkpoint !== undefined && ids.has(checkpoint)) this.#selects.checkpoint.value = checkpoint;
    if (tokenizer && ids.has(tokenizer)) this.#selects.tokenizer.value = tokenizer;
    if (labels && ids.has(labels)) this.#selects.labels.value = labels;
    await this.open();
  }

  /** Keeps files of the person's own. */
  async keep(files: readonly File[]): Promise<void> {
    for (const file of files) {
      await this.#get(`Keeping ${file.name}`, (tell) => this.engine.call('keep', { file }, tell));
    }
  }

  /** Opens what is chosen. */
  async open(): Promise<void> {
    this.events.onModel(null);
    const isShipped = this.#selects.checkpoint.value === SHIPPED;
    for (const kind of ['tokenizer', 'labels'] as const) this.#selects[kind].disabled = isShipped;
    const choice = this.#choice;
    remember(choice);
    this.#note.textContent = '';
    const model = await this.events.during('Opening the model', (tell) => this.engine.call('open', choice, tell));
    // Another may have been chosen since.
    if (!model || JSON.stringify(choice) !== JSON.stringify(this.#choice)) return;
    const able = TASKS.filter((task) => model.tasks[task] === null);
    const can = able.length === 0 ? 'none of the tasks yet (see above)' : able.join(', ');
    this.#note.textContent = isShipped
      ? `${size(model.bytes)}, comes with this page. It knows emoji and nothing else.`
      : `${model.name}, ${size(model.bytes)}, can do: ${can}.`;
    this.events.onModel(model);
  }

  get #choice(): ModelChoice {
    const { checkpoint, tokenizer, labels } = this.#selects;
    const orNull = (value: string): string | null => (value === NONE ? null : value);
    return { checkpoint: checkpoint.value, tokenizer: orNull(tokenizer.value), labels: orNull(labels.value) };
  }

  /** Gets a file into the store and takes it into the model. */
  async #get(
    what: string,
    work: (tell: (progress: Progress) => void) => Promise<StoredFile>,
  ): Promise<StoredFile | undefined> {
    const stored = await this.events.during(what, work);
    if (!stored || !(await this.#list())) return undefined;
    this.#selects[stored.kind].value = stored.id;
    if (stored.kind === 'checkpoint' || !this.#selects[stored.kind].disabled) await this.open();
    return stored;
  }

  async #list(): Promise<readonly StoredFile[] | undefined> {
    const listed = await this.events.during('Looking for kept files', () => this.engine.call('files', null));
    if (!listed) return undefined;
    const { files, lasting } = listed;
    byId('lasting', HTMLSpanElement).textContent = lasting
      ? 'They are kept in this browser until you delete them.'
      : 'This browser keeps nothing from visit to visit, so they are held in memory until the page is closed.';
    const of = (kind: FileKind) =>
      files.filter((file) => file.kind === kind).map(({ id, name }) => [id, name] as const);
    fill(this.#selects.checkpoint, [[SHIPPED, 'The small emoji model'], ...of('checkpoint')]);
    const tokenizers = of('tokenizer');
    const had = this.#selects.tokenizer.value;
    fill(this.#selects.tokenizer, [[NONE, 'none'], ...tokenizers]);
    // Most people have one.
    if (had === NONE && tokenizers.length === 1) this.#selects.tokenizer.value = tokenizers[0][0];
    fill(this.#selects.labels, [[NONE, 'none: results carry numbers'], ...of('labels')]);
    this.#stored.replaceChildren(...files.map((file) => this.#item(file)));
    return files;
  }

  #item({ id, name, bytes, address }: StoredFile): HTMLElement {
    const button = make('button', { type: 'button', ariaLabel: `Delete ${name}` }, 'Delete');
    button.addEventListener('click', async () => {
      button.disabled = true;
      const isUsed = Object.values(this.#selects).some(({ value }) => value === id);
      await this.events.during(`Deleting ${name}`, () => this.engine.call('forget', { id }));
      if ((await this.#list()) && isUsed) await this.open();
    });
    return make('li', { title: address ?? '' }, `${name}, ${size(bytes)} `, button);
  }
}

/** Whether a file belongs to a model, by its name. */
export const isModelFile = ({ name }: File): boolean => kindOf(name) !== null;

function remember(choice: ModelChoice): void {
  try {
    localStorage.setItem(REMEMBERED, JSON.stringify(choice));
  } catch {
    // Some browsers keep nothing; then the next visit begins afresh.
  }
}

function remembered(): Partial<ModelChoice> {
  try {
    return (JSON.parse(localStorage.getItem(REMEMBERED) ?? '{}') ?? {}) as Partial<ModelChoice>;
  } catch {
    return {};
  }
}
