/** The page of web/ under test: opened in a browser, filled in as a person does, read as it shows. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import sharp from 'sharp';
import { iconToSvg } from '../../beit3/emoji/draw.js';
import { type IconSet, resolveIcon } from '../../beit3/emoji/join.js';
import { readPackageJson } from '../../beit3/emoji/packages.js';
import { pipeline, shippedModel } from '../../beit3/index.js';
import { type FileServer, serve } from './server.js';

/** The page lies below other files: its addresses must be relative. */
const PATH = '/dist/web/index.html';

export interface OpenOptions {
  readonly folder: string;
  readonly isolated: boolean;
  /** Runs in the page before its own program. */
  readonly before?: () => void;
}

/** An open page on a server of its own, and what it complained about. */
export class WebPage {
  readonly complaints: string[] = [];
  private constructor(
    readonly context: BrowserContext,
    readonly page: Page,
    readonly server: FileServer,
  ) {
    page.setDefaultTimeout(60_000);
    page.on('pageerror', (error) => this.complaints.push(String(error)));
    page.on('console', (message) => {
      if (message.type() === 'error') this.complaints.push(message.text());
    });
  }

  static async open(browser: Browser, { folder, isolated, before }: OpenOptions): Promise<WebPage> {
    const server = await serve(folder, { isolated });
    const context = await browser.newContext();
    const web = new WebPage(context, await context.newPage(), server);
    if (before) await web.page.addInitScript(before);
    await web.page.goto(server.address + PATH);
    return web;
  }

  /** Opens the page once more, with an engine that runs other code first: what takes something from it, say. */
  async reloadWith(code: string): Promise<void> {
    await this.context.route('**/engine.js', async (route) => {
      const response = await route.fetch();
      await route.fulfill({ response, body: `${code};${await response.text()}` });
    });
    await this.page.reload();
    await this.ready();
  }

  /** Waits until the page is ready for a job. */
  async ready(): Promise<void> {
    await this.page.waitForSelector('#run:not([disabled])');
  }

  /** Gives pictures; they are listed in this order. */
  async give(paths: readonly string[]): Promise<void> {
    await this.page.setInputFiles('#picture-files', [...paths]);
    await this.page.waitForFunction((n) => document.querySelectorAll('#pictures li').length === n, paths.length);
  }

  async choose(name: 'task' | 'device', value: string): Promise<void> {
    await this.page.check(`input[name="${name}"][value="${value}"]`);
  }

  /** Runs the job that is filled in. Returns what is shown: the sentence of an error, else a line for each row. */
  async run(): Promise<string[]> {
    await this.page.click('#run');
    return await this.outcome();
  }

  async outcome(): Promise<string[]> {
    await this.page.waitForSelector('#result .timing, #error:not([hidden])');
    const error = await this.error();
    if (error !== null) return [error];
    await this.ready();
    return await this.page.$$eval('#result tbody tr, #result .said', (rows) =>
      rows.map((row) => (row.children.length > 0 ? [...row.children] : [row]).map((c) => c.textContent).join(' | ')),
    );
  }

  /** The sentence that is shown, or null. */
  async error(): Promise<string | null> {
    return await this.page.$eval('#error', (e) => ((e as HTMLElement).hidden ? null : e.textContent));
  }

  /** Waits for a sentence. */
  async refusal(): Promise<string | null> {
    await this.page.waitForSelector('#error:not([hidden])');
    return await this.error();
  }

  /** Whether a device can be chosen, and the sentence beside it; null for one that is not listed. */
  async device(name: string): Promise<{ works: boolean; note: string } | null> {
    return await this.page.evaluate((n) => {
      const input = document.querySelector<HTMLInputElement>(`input[name="device"][value="${n}"]`);
      const note = document.getElementById(`device-${n}-note`)?.textContent ?? '';
      return input && { works: !input.disabled, note };
    }, name);
  }

  async close(): Promise<void> {
    await this.context.close();
    await this.server.close();
  }
}

/** Emoji of the style that the shipped model has never seen, as PNG files. */
export async function drawEmoji(folder: string, icons: readonly string[]): Promise<string[]> {
  const set = await readPackageJson<IconSet>('@iconify-json/twemoji', 'icons.json');
  return await Promise.all(
    icons.map(async (name) => {
      const icon = resolveIcon(set, name);
      if (!icon) throw new Error(`there is no icon ${name}`);
      const path = join(folder, `${name}.png`);
      const svg = Buffer.from(iconToSvg(icon, 96));
      await writeFile(path, await sharp(svg).flatten({ background: '#ffffff' }).png().toBuffer());
      return path;
    }),
  );
}

export const QUESTION = 'is this food?';
export const SENTENCE = 'the left picture shows a red apple.';
export const TEXTS = ['red apple', 'dog face', 'automobile'] as const;

/** What is shown for every job, as rows of a text and a number. */
export type Shown = Readonly<Record<string, readonly (readonly [text: string, number: number])[]>>;

/** What the shipped model says in Node, on the wasm backend. */
export async function answersInNode(pictures: readonly string[]): Promise<Shown> {
  const { checkpoint, tokenizer, classes, answers } = await shippedModel();
  const options = { checkpoint, tokenizer, device: 'wasm', threads: 1 };
  using classify = await pipeline('classify', { checkpoint, labels: classes, device: 'wasm', threads: 1 });
  using vqa = await pipeline('vqa', { ...options, labels: answers });
  using nlvr2 = await pipeline('nlvr2', options);
  using caption = await pipeline('caption', options);
  using retrieve = await pipeline('retrieve', options);
  const [first, second] = pictures;
  const judged = await nlvr2.run(first, second, SENTENCE);
  const name = (path: string): string => path.split('/').at(-1) as string;
  return {
    classify: (await classify.run(first)).map((c) => [c.label, 100 * c.probability]),
    vqa: (await vqa.run(first, QUESTION)).map((a) => [a.answer, 100 * a.score]),
    nlvr2: [[String(judged.answer), 100 * judged.probability]],
    caption: [[(await caption.run(first)).text, 0]],
    pictures: (await retrieve.run({ text: TEXTS[0], images: pictures })).map((m) => [name(m.candidate), m.similarity]),
    texts: (await retrieve.run({ image: first, texts: TEXTS })).map((m) => [m.candidate, m.similarity]),
  };
}

/** What the page shows for the same jobs. The pictures must have been given in their order. */
export async function answersInPage(web: WebPage, pictures: readonly string[]): Promise<Shown> {
  const { page } = web;
  const names = pictures.map((path) => path.split('/').at(-1) as string);
  const rows = async (): Promise<[string, number][]> =>
    (await web.run()).map((row) => {
      // "true (93.1% true)", "yes | 47.3%", "red apple | 0.612", "a caption"
      const [, text, number] = /^(.*?)(?: \| | \()(-?[\d.]+)%?(?: true\))?$/.exec(row) ?? [row, row, '0'];
      return [text, Number(number)];
    });
  const shown: Record<string, [string, number][]> = {};
  await web.choose('task', 'classify');
  await page.selectOption('#picture', { label: names[0] });
  shown.classify = await rows();
  await web.choose('task', 'vqa');
  await page.fill('#question', QUESTION);
  shown.vqa = await rows();
  await web.choose('task', 'nlvr2');
  await page.selectOption('#left', { label: names[0] });
  await page.selectOption('#right', { label: names[1] });
  await page.fill('#sentence', SENTENCE);
  shown.nlvr2 = await rows();
  await web.choose('task', 'caption');
  shown.caption = await rows();
  await web.choose('task', 'retrieve');
  await page.fill('#texts', TEXTS.join('\n'));
  shown.pictures = await rows();
  await page.selectOption('#query', { label: names[0] });
  shown.texts = await rows();
  return shown;
}
