/** The tasks: what each asks for, and the job that a person's input makes. */
import { type Job, type PageTask, TASKS } from '../engine/protocol.js';
import { byId, chosen, fill, make, radio } from './dom.js';
import type { Picture, Pictures } from './pictures.js';

const TITLES: Readonly<Record<PageTask, string>> = {
  classify: 'Classify a picture',
  vqa: 'Answer a question about a picture',
  nlvr2: 'Judge a sentence about two pictures',
  caption: 'Describe a picture',
  retrieve: 'Find pictures for a text, or texts for a picture',
};

const ALL = '';

export class Tasks {
  readonly #tasks = byId('tasks', HTMLFieldSetElement);
  readonly #inputs = byId('inputs', HTMLDivElement);
  readonly #picture = make('select', { id: 'picture' });
  readonly #left = make('select', { id: 'left' });
  readonly #right = make('select', { id: 'right' });
  readonly #query = make('select', { id: 'query' });
  readonly #question = make('input', { id: 'question', value: 'Is this food?', autocomplete: 'off' });
  readonly #sentence = make('input', {
    id: 'sentence',
    value: 'the left picture shows a red apple.',
    autocomplete: 'off',
  });
  readonly #texts = make('textarea', { id: 'texts', rows: 4, value: 'red apple' });

  constructor(private readonly pictures: Pictures) {
    this.#tasks.append(...TASKS.map((task) => radio('task', task, TITLES[task], { checked: task === 'caption' })));
    this.#tasks.addEventListener('change', () => this.#show());
    this.#show();
  }

  /** What the model can do; null while there is none. */
  allow(tasks: Readonly<Record<PageTask, string | null>> | null): void {
    const now = this.task;
    const possible = TASKS.filter((task) => tasks?.[task] === null);
    const next = tasks === null || possible.includes(now) ? now : (possible[0] ?? now);
    const legend = this.#tasks.querySelector('legend') as HTMLLegendElement;
    this.#tasks.replaceChildren(
      legend,
      ...TASKS.map((task) => {
        const note = tasks?.[task] ?? '';
        return radio('task', task, TITLES[task], { note, disabled: note !== '', checked: task === next });
      }),
    );
    this.#show();
  }

  get task(): PageTask {
    return chosen('task') as PageTask;
  }

  /** Takes over the pictures that are there now; new ones are chosen. */
  update(): void {
    const { all } = this.pictures;
    const options = all.map(({ id, name }) => [id, name] as const);
    for (const select of [this.#picture, this.#left, this.#right]) fill(select, options);
    fill(this.#query, [[ALL, 'all pictures, by the first text'], ...options]);
    const newest = all.at(-1)?.id;
    if (newest !== undefined && newest !== this.#newest) {
      this.#picture.value = newest;
      this.#right.value = newest;
      if (all.length > 1) this.#left.value = all[all.length - 2].id;
    }
    this.#newest = newest;
  }
  #newest: string | undefined;

  /** The job as it is filled in. Throws an Error, one sentence, where something is missing. */
  job(): Job {
    const { task } = this;
    switch (task) {
      case 'classify':
      case 'caption':
        return { task, picture: this.#given(this.#picture).file };
      case 'vqa':
        return { task, picture: this.#given(this.#picture).file, question: this.#written(this.#question, 'question') };
      case 'nlvr2': {
        const [left, right] = [this.#given(this.#left).file, this.#given(this.#right).file];
        return { task, left, right, sentence: this.#written(this.#sentence, 'sentence') };
      }
      case 'retrieve': {
        const texts = this.#texts.value
          .split('\n')
          .map((line) => line.trim())
          .filter((line) => line !== '');
        if (texts.length === 0) throw new Error('There is no text to compare with; write one on each line.');
        if (this.#query.value !== ALL) return { task, picture: this.#given(this.#query).file, texts };
        this.#expectPictures();
        return { task, text: texts[0], pictures: this.pictures.all.map(({ file }) => file) };
      }
    }
  }

  #expectPictures(): void {
    if (this.pictures.all.length === 0) throw new Error('There is no picture yet; drop one on this page first.');
  }

  #given(select: HTMLSelectElement): Picture {
    this.#expectPictures();
    const picture = this.pictures.get(select.value);
    if (!picture) throw new Error('No picture is chosen; choose one.');
    return picture;
  }

  #written(input: HTMLInputElement, what: string): string {
    const text = input.value.trim();
    if (text === '') throw new Error(`There is no ${what} yet; write one.`);
    return text;
  }

  #show(): void {
    const shown: Readonly<Record<PageTask, readonly [string, HTMLElement][]>> = {
      classify: [['Picture', this.#picture]],
      vqa: [
        ['Picture', this.#picture],
        ['Question', this.#question],
      ],
      nlvr2: [
        ['Left picture', this.#left],
        ['Right picture', this.#right],
        ['Sentence', this.#sentence],
      ],
      caption: [['Picture', this.#picture]],
      retrieve: [
        ['Search', this.#query],
        ['Texts, one a line', this.#texts],
      ],
    };
    this.#inputs.replaceChildren(
      ...shown[this.task].map(([text, field]) => make('div', {}, make('label', { htmlFor: field.id }, text), field)),
    );
  }
}
