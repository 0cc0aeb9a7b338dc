/** Running a Python peer in the same run: the interpreter named by AZULEJO_PYTHON, else python3 if it has the packages. */
import { spawnSync } from 'node:child_process';

/** What a script's last line of JSON says, or null when there is no Python with `needs` on this machine. */
export function pythonPeer(
  script: string,
  args: readonly string[],
  needs = 'torch',
): Record<string, number | string> | null {
  const python = process.env.AZULEJO_PYTHON ?? 'python3';
  if (spawnSync(python, ['-c', `import ${needs}`], { stdio: 'ignore' }).status !== 0) return null;
  const run = spawnSync(python, [script, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (run.status !== 0) throw new Error(`${script} ended with ${run.status ?? run.signal}`);
  return JSON.parse(run.stdout.trim().split('\n').pop() as string) as Record<string, number | string>;
}
