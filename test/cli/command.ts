/** Runs the built command in a process of its own. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { FileHandle } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../cli/main.js', import.meta.url));

export interface Result {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Where its output goes instead; it is closed afterwards. */
  readonly stdout?: FileHandle;
  /** Longest time that it may take, in milliseconds. */
  readonly limit?: number;
  /** Called with the process as soon as it runs. */
  readonly onStart?: (child: ReturnType<typeof spawn>) => void;
}

/** Longest time that a command of these tests may take, in milliseconds. */
const LIMIT = 60_000;

export function beit3(
  args: readonly string[],
  { env = {}, stdout: file, limit = LIMIT, onStart }: RunOptions = {},
): Promise<Result> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MAIN, ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', file?.fd ?? 'pipe', 'pipe'],
      timeout: limit,
    });
    let stdout = '';
    let stderr = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
    child.on('error', reject);
    child.on('close', async (code) => {
      await file?.close();
      resolve({ code, stdout, stderr });
    });
    onStart?.(child);
  });
}

/** Runs a command that must succeed and say nothing on stderr; gives its stdout. */
export async function succeed(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await beit3(args);
  assert.deepEqual([code, stderr], [0, ''], `beit3 ${args.join(' ')}\n${stderr}`);
  return stdout;
}

/** Runs a command with --json that must succeed; gives what it printed. */
export async function succeedJson(...args: string[]): Promise<unknown> {
  const stdout = await succeed(...args, '--json');
  assert.match(stdout, /^[^\n]+\n$/, 'one line of JSON');
  return JSON.parse(stdout) as unknown;
}

/** Runs a command that must be refused: one sentence on stderr, nothing on stdout, exit code 2. */
export async function refuse(pattern: RegExp, ...args: string[]): Promise<void> {
  const { code, stdout, stderr } = await beit3(args);
  assert.match(stderr, /^beit3: [^\n]+[.]\n$/, `beit3 ${args.join(' ')}: one sentence`);
  assert.match(stderr, pattern);
  assert.doesNotMatch(stderr, /\n\s+at |Error:/);
  assert.deepEqual([code, stdout], [2, ''], `beit3 ${args.join(' ')}`);
}
