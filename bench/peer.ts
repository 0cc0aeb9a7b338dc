/** Running a Python peer in the same run: the interpreter named by AZULEJO_PYTHON, else python3 if it has the packages. */
import { spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';

type Answer = Record<string, number | string | null>;

function interpreter(needs: string): string | null {
  const python = process.env.AZULEJO_PYTHON ?? 'python3';
  return spawnSync(python, ['-c', `import ${needs}`], { stdio: 'ignore' }).status === 0 ? python : null;
}

/** What a script's last line of JSON says, or null when there is no Python with `needs` on this machine. */
export function pythonPeer(script: string, args: readonly string[], needs = 'torch'): Answer | null {
  const python = interpreter(needs);
  if (python === null) return null;
  const run = spawnSync(python, [script, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  if (run.status !== 0) throw new Error(`${script} ended with ${run.status ?? run.signal}`);
  return JSON.parse(run.stdout.trim().split('\n').pop() as string) as Answer;
}

/** A script that works when asked: it answers every line (a question in JSON, or an empty one) with a line of JSON. */
export interface SteppingPeer {
  step(question?: object): Promise<Answer>;
  /** The next line that it says by itself. */
  next(): Promise<Answer>;
  end(): void;
}

/** Starts such a script; null when there is no Python with `needs` on this machine. */
export function steppingPeer(script: string, args: readonly string[], needs = 'torch'): SteppingPeer | null {
  const python = interpreter(needs);
  if (python === null) return null;
  const child = spawn(python, [script, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<Answer> => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${script} ended early`);
    return JSON.parse(value) as Answer;
  };
  return {
    next,
    step(question) {
      child.stdin.write(`${question ? JSON.stringify(question) : ''}\n`);
      return next();
    },
    end: () => child.stdin.end(),
  };
}
