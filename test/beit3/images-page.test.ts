import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { inflateSync } from 'node:zlib';
import { build } from 'esbuild';
import { startBrowser } from '../page/browser.js';

const root = new URL('../../../', import.meta.url);
const fixture = (name: string): Buffer => readFileSync(new URL(`test/fixtures/${name}`, root));

/** What runs in the page: everything comes and goes as text. */
const SCRIPT = `
import { decodeImage } from './beit3/images/index.js';
import { Tokenizer } from './beit3/tokenizer/index.js';
const bytesOf = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
globalThis.decode = async (file) => {
  try {
    const { width, height, data } = await decodeImage(new Blob([bytesOf(file)]));
    return { width, height, data: btoa(String.fromCharCode(...data)) };
  } catch (error) {
    return { error: error.name + ': ' + error.message };
  }
};
globalThis.encode = async (address, texts) => {
  const tokenizer = await Tokenizer.load(address);
  return texts.map((text) => tokenizer.encode(text).ids);
};`;

it('a page decodes images and cuts texts exactly as Node does', { timeout: 180_000 }, async (t) => {
  const browser = await startBrowser();
  if (typeof browser === 'string') return t.skip(browser);
  const bundle = await build({
    stdin: { contents: SCRIPT, resolveDir: fileURLToPath(root) },
    bundle: true,
    write: false,
    format: 'iife',
    platform: 'browser',
    external: ['sharp', 'node:*'],
  });
  const server = createServer((request, response) => {
    response.end(request.url === '/tokenizer.spm' ? fixture('tokenizer.spm') : '<!doctype html><p>');
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    await page.addScriptTag({ content: bundle.outputFiles[0].text });

    type Decoded = { width: number; height: number; data: string; error?: string };
    const decode = (file: string): Promise<Decoded> => page.evaluate(`decode(${JSON.stringify(file)})`);
    const images: Record<string, { file: string; width: number; height: number; rgb: string }> = JSON.parse(
      fixture('image_formats.json').toString(),
    );
    for (const [name, { file, width, height, rgb }] of Object.entries(images)) {
      const got = await decode(file);
      if (name.endsWith('.tif')) {
        assert.match(got.error ?? '', /^InputError: A page cannot read TIFF/, name);
        continue;
      }
      assert.deepEqual([got.error, got.width, got.height], [undefined, width, height], name);
      const data = Buffer.from(got.data, 'base64');
      const wanted = inflateSync(Buffer.from(rgb, 'base64'));
      const slack = /\.(jpg|avif)$|lossy/.test(name) ? 1 : 0;
      assert.ok(
        data.every((byte, i) => Math.abs(byte - wanted[i]) <= slack),
        name,
      );
    }
    const half = Buffer.from(images['rgb.png'].file, 'base64').subarray(0, 300).toString('base64');
    assert.match((await decode(half)).error ?? '', /^InputError: The image is a damaged or incomplete PNG file/);

    const { cases }: { cases: { text: string; ids: number[] }[] } = JSON.parse(
      fixture('tokenizer_cases.json').toString(),
    );
    const texts = JSON.stringify(cases.map(({ text }) => text));
    const ids = await page.evaluate(`encode('/tokenizer.spm', ${texts})`);
    assert.deepEqual(
      ids,
      cases.map((each) => each.ids),
    );
  } finally {
    await browser.close();
    server.close();
  }
});
