/** A web server on this machine for the package's own files. */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import { build } from 'esbuild';
import { packageRoot } from '../support/fixtures.js';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css',
  '.js': 'text/javascript',
  '.json': 'application/json',
};

/** Packages that the built files name, bundled where a page asks for them. */
const PACKAGES = ['ndarray', 'fast-check', 'gpu.js'];
const imports = Object.fromEntries(PACKAGES.map((name) => [name, `/packages/${name}.js`]));
const PAGE = `<!doctype html><title>page</title><script type="importmap">${JSON.stringify({ imports })}</script>`;

export interface FileServer {
  /** `http://127.0.0.1:port`. */
  readonly address: string;
  /** Paths that were asked for. */
  readonly requests: string[];
  close(): Promise<void>;
}

/**
 * Serves `/dist/...` and `/test/...` of the package and what lies in `folder` under `/made/`; `/` is an empty page whose
 * modules may import packages by name. With `isolated` every answer has the headers that make a page cross-origin isolated, and so allow shared memory.
 */
export async function serve(folder: string, { isolated }: { readonly isolated: boolean }): Promise<FileServer> {
  const requests: string[] = [];
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://page').pathname));
    requests.push(path);
    if (isolated) {
      response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
      response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
    }
    try {
      const body = path === '/' ? PAGE : await contentOf(path, folder);
      response.setHeader('Content-Type', TYPES[path === '/' ? '.html' : extname(path)] ?? 'application/octet-stream');
      response.end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return {
    address: `http://127.0.0.1:${port}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

async function contentOf(path: string, folder: string): Promise<Uint8Array | string> {
  const name = PACKAGES.find((p) => imports[p] === path);
  return name === undefined ? readFile(fileOf(path, folder)) : bundled(name);
}

/** A package as one module of the web. */
async function bundled(name: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [name],
    absWorkingDir: packageRoot,
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    write: false,
  });
  return outputFiles[0].text;
}

function fileOf(path: string, folder: string): string {
  if (path.startsWith('/made/')) return join(folder, path.slice('/made/'.length));
  if (/^\/(dist|test)\//.test(path)) return join(packageRoot, path);
  throw new Error(`${path} is not served`);
}
