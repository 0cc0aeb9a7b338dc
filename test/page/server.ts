/** A web server on this machine for the package's own files. */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';
import { packageRoot } from '../support/fixtures.js';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript',
  '.json': 'application/json',
};

export interface FileServer {
  /** `http://127.0.0.1:port`. */
  readonly address: string;
  /** Paths that were asked for. */
  readonly requests: string[];
  close(): Promise<void>;
}

/**
 * Serves `/dist/...` and `/test/...` of the package and what lies in `folder` under `/made/`; `/` is an empty page. With
 * `isolated` every answer has the headers that make a page cross-origin isolated, and so allow shared memory.
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
      const body = path === '/' ? '<!doctype html><title>page</title>' : await readFile(fileOf(path, folder));
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

function fileOf(path: string, folder: string): string {
  if (path.startsWith('/made/')) return join(folder, path.slice('/made/'.length));
  if (/^\/(dist|test)\//.test(path)) return join(packageRoot, path);
  throw new Error(`${path} is not served`);
}
