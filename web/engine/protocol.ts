/** What the page and its engine, a worker that owns the library, say to each other: plain data and files. */
import type { Answer, Classification, ImageCaption, Judgement } from '../../beit3/pipeline/index.js';
import type { StoredFile } from '../checkpoints/store.js';

export const TASKS = ['classify', 'vqa', 'nlvr2', 'caption', 'retrieve'] as const;
export type PageTask = (typeof TASKS)[number];

/** The device that takes the best one of the others. */
export const AUTO = 'auto';

/** A backend, and whether this page has what it needs. */
export interface Device {
  readonly name: string;
  readonly works: boolean;
  /** One sentence: what it computes on, or what is missing. */
  readonly note: string;
}

/** The small model that comes with the page. */
export const SHIPPED = 'emoji';

/** Kept files by their ids. */
export interface ModelChoice {
  /** SHIPPED or an id. */
  readonly checkpoint: string;
  /** Null for none; the shipped model brings its own. */
  readonly tokenizer: string | null;
  readonly labels: string | null;
}

export interface Model {
  readonly name: string;
  readonly bytes: number;
  /** Null for a task that the model can do, else one sentence that says why not. */
  readonly tasks: Readonly<Record<PageTask, string | null>>;
}

/** What a person asks of the model. */
export type Job =
  | { readonly task: 'classify'; readonly picture: File }
  | { readonly task: 'vqa'; readonly picture: File; readonly question: string }
  | { readonly task: 'nlvr2'; readonly left: File; readonly right: File; readonly sentence: string }
  | { readonly task: 'caption'; readonly picture: File }
  | { readonly task: 'retrieve'; readonly text: string; readonly pictures: readonly File[] }
  | { readonly task: 'retrieve'; readonly picture: File; readonly texts: readonly string[] };

/** A candidate's place among those given, and its cosine. */
export interface Found {
  readonly index: number;
  readonly similarity: number;
}

/** What the model said. */
export type Said =
  | { readonly task: 'classify'; readonly classes: readonly Classification[] }
  | { readonly task: 'vqa'; readonly answers: readonly Answer[] }
  | { readonly task: 'nlvr2'; readonly judgement: Judgement }
  | { readonly task: 'caption'; readonly caption: ImageCaption }
  | { readonly task: 'retrieve'; readonly found: readonly Found[] };

export interface Report {
  readonly said: Said;
  /** The backend that was used. */
  readonly device: string;
  /** Milliseconds in which the weights came to the device; null where they were there. */
  readonly loadMs: number | null;
  readonly runMs: number;
}

/** Every call of the engine: what goes in and what comes out. */
export interface Calls {
  /** The devices, the preferred first. */
  devices: { input: null; output: readonly Device[] };
  /** The kept files, and whether they outlive the page. */
  files: { input: null; output: { readonly files: readonly StoredFile[]; readonly lasting: boolean } };
  /** Downloads a file and keeps it; one that is kept already comes back at once. */
  fetch: { input: { readonly address: string }; output: StoredFile };
  /** Keeps a file of the person's own. */
  keep: { input: { readonly file: File }; output: StoredFile };
  forget: { input: { readonly id: string }; output: null };
  /** Takes a model for the jobs to come; its weights are loaded by the first job. */
  open: { input: ModelChoice; output: Model };
  run: { input: { readonly device: string; readonly job: Job }; output: Report };
}

export type CallName = keyof Calls;

export interface Progress {
  readonly what: string;
  readonly done: number;
  /** Null where nobody knows. */
  readonly total: number | null;
}

export type Request = {
  readonly [C in CallName]: { readonly id: number; readonly call: C; readonly input: Calls[C]['input'] };
}[CallName];

export type Reply =
  | { readonly id: number; readonly progress: Progress }
  | { readonly id: number; readonly output: Calls[CallName]['output'] }
  /** Something given was wrong: one sentence. */
  | { readonly id: number; readonly refused: string }
  /** Something went wrong in the engine. */
  | { readonly id: number; readonly failed: string };
