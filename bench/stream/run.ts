/** Starting the reader, and a web server for shards. */
import { spawn } from 'node:child_process';
import { createReadStream, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { ReaderFigures, ReaderJob } from './reader.js';

const READER = fileURLToPath(new URL('./reader.js', import.meta.url));

/** Reads in a process whose heap may grow to so many MiB. Throws Error when it does not come to its end. */
export function runReader(job: ReaderJob, heap: number): Promise<ReaderFigures> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [`--max-old-space-size=${heap}`, READER, JSON.stringify(job)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve(JSON.parse(stdout) as ReaderFigures);
      else reject(new Error(`The reader ended with ${code}: ${stderr.slice(0, 2000)}`));
    });
  });
}

/** Serves the files of a folder to this machine, ranges too; gives the address and the server, to be closed. */
export async function serveFolder(folder: string): Promise<{ readonly address: string; readonly server: Server }> {
  const server = createServer((request, response) => {
    const path = join(folder, (request.url ?? '').replace(/[^\w.-]/g, ''));
    const { size } = statSync(path);
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    const headers = { 'content-length': size - from };
    if (from > 0) response.writeHead(206, { ...headers, 'content-range': `bytes ${from}-${size - 1}/${size}` });
    else response.writeHead(200, headers);
    createReadStream(path, { start: from, highWaterMark: 1 << 18 }).pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}
