/** A web server on this machine for the page in the package. Needs Node, nothing else. */
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { InputError, messageOf } from '../core/errors.js';

export interface PageServer {
  /** `http://127.0.0.1:port/`. */
  readonly address: string;
  close(): Promise<void>;
}

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.txt': 'text/plain; charset=utf-8',
};

/** What makes the page cross-origin isolated, so that its threads can share memory; nothing is kept too long. */
const HEADERS: Readonly<Record<string, string>> = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'X-Content-Type-Options': 'nosniff',
  'Cache-Control': 'no-cache',
};

/**
 * Serves the page to programs on this machine; port 0 takes any that is free. Throws InputError when the port is taken
 * or the package was not built.
 */
export async function servePage(port: number): Promise<PageServer> {
  const { createServer } = await import('node:http');
  const fileOf = await files();
  const server = createServer((request, response) => void answer(request, response, fileOf));
  await listen(server, port);
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('the server has no port');
  return {
    address: `http://127.0.0.1:${bound.port}/`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const taken = error.code === 'EADDRINUSE';
      reject(
        new InputError(
          taken
            ? `Port ${port} is taken by another program; give another one with --port.`
            : `Cannot serve on port ${port}: ${messageOf(error)}.`,
        ),
      );
    });
    server.listen(port, '127.0.0.1', () => resolve());
  });
}

/** From the path in an address to a file; null for what is not served. */
async function files(): Promise<(path: string) => string | null> {
  const { existsSync } = await import('node:fs');
  const { dirname, join } = await import('node:path');
  const { fileURLToPath } = await import('node:url');
  // Up to the folder with package.json: the depth differs between sources and dist/.
  let root = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(root, 'package.json')) && dirname(root) !== root) root = dirname(root);
  const page = join(root, 'dist', 'web');
  if (!existsSync(join(page, 'index.html')))
    throw new InputError(`There is no page in ${page}; build it: npm run build.`);
  return (path) => {
    const name = path.replace(/^\//, '') || 'index.html';
    // Names of the build are plain; anything else leads elsewhere.
    if (/^emoji\/[\w-]+\.\w+$/.test(name)) return join(root, 'beit3', 'zoo', name);
    return /^[\w-]+\.\w+$/.test(name) ? join(page, name) : null;
  };
}

async function answer(
  { method = 'GET', url = '/' }: IncomingMessage,
  response: ServerResponse,
  fileOf: (path: string) => string | null,
): Promise<void> {
  const end = (status: number): void => {
    response.writeHead(status).end();
  };
  try {
    for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
    if (method !== 'GET' && method !== 'HEAD') return end(405);
    const file = URL.canParse(url, 'http://page') ? fileOf(new URL(url, 'http://page').pathname) : null;
    if (file === null) return end(404);
    const { open } = await import('node:fs/promises');
    const { extname } = await import('node:path');
    const handle = await open(file, 'r').catch(() => null);
    if (handle === null) return end(404);
    response.setHeader('Content-Type', TYPES[extname(file)] ?? 'application/octet-stream');
    response.setHeader('Content-Length', (await handle.stat()).size);
    if (method === 'HEAD') {
      await handle.close();
      return end(200);
    }
    const stream = handle.createReadStream();
    // The browser may turn away halfway; the file is closed with the stream.
    response.on('close', () => stream.destroy());
    stream.on('error', () => response.destroy());
    stream.pipe(response);
  } catch {
    response.destroy();
  }
}
