import { loadBackend } from '../../backends/index.js';
import { type Comparison, type ParityCase, runParity } from '../../beit3/parity/index.js';
import type { Command } from '../command.js';
import { requireFiles } from '../files.js';
import { printable, scientific, table } from '../format.js';

type Group = 'outputs' | 'hidden' | 'grads';
const GROUPS: readonly Group[] = ['outputs', 'hidden', 'grads'];

/** Lines printed of a case that holds, unless --all is given. */
const SHOWN = 5;

export const command: Command = {
  usage: ['parity FILE...'],
  about:
    'Runs dumps of the PyTorch reference (test/reference/dump.py makes them) and compares every output, hidden state and gradient: the largest absolute error, and the norm of the difference over the norm of the reference, worst first. Exits with 0 if all hold, with 1 if a number is off, with 2 if a file is no dump.',
  flags: { all: { help: 'Print every number, not only the worst.' } },
  examples: ['beit3 parity test/fixtures/parity/*.safetensors --device reference'],
  async run(args, context) {
    const files = await requireFiles(args.expect(1, Number.POSITIVE_INFINITY, 'at least one dump'));
    const backend = await loadBackend(context.device, { adapter: context.adapter, threads: context.threads });
    const cases: ParityCase[] = [];
    for (const file of files) {
      const report = await runParity([file], { backend });
      for (const found of report.cases) {
        cases.push(found);
        if (found.error !== undefined) context.note(`beit3: ${printable(found.error)}`);
        else if (!context.wantsJson) context.out(caseText(found, args.has('all')));
      }
    }
    const ok = cases.every((found) => found.ok);
    const compared = cases.filter(({ error }) => error === undefined);
    if (context.wantsJson) context.json({ ok, cases: cases.map(plain) });
    else if (ok) context.out(`All ${cases.length} hold.`);
    else if (compared.length > 0) {
      const holding = compared.filter((found) => found.ok).length;
      const rest = cases.length - compared.length;
      context.out(`${holding} of ${compared.length} hold${rest > 0 ? `; ${rest} could not be run` : ''}.`);
    }
    if (compared.length < cases.length) return 2;
    return ok ? 0 : 1;
  },
};

function plain(found: ParityCase): object {
  const numbers = (group: Group) =>
    Object.fromEntries(Object.entries(found[group]).map(([name, { maxAbs, relNorm }]) => [name, { maxAbs, relNorm }]));
  const { file, task, device, ok, error } = found;
  return {
    file,
    task,
    device,
    ok,
    ...(error === undefined ? {} : { error }),
    outputs: numbers('outputs'),
    hidden: numbers('hidden'),
    grads: numbers('grads'),
  };
}

/** How bad a comparison is, for the order: failures before all else, numbers that cannot be compared before them. */
function badness({ maxAbs, relNorm, ok }: Comparison): number {
  const size = Math.max(maxAbs, relNorm);
  return (ok ? 0 : 1e30) + (Number.isNaN(size) ? 1e35 : size);
}

function caseText(found: ParityCase, all: boolean): string {
  const title = `${found.ok ? 'ok  ' : 'FAIL'} ${printable(found.file)}: ${printable(found.task)} on ${found.device}`;
  const entries = GROUPS.flatMap((group) =>
    Object.entries(found[group]).map(([name, numbers]) => ({ group, name, ...numbers })),
  );
  entries.sort((a, b) => badness(b) - badness(a));
  const failed = entries.filter((entry) => !entry.ok).length;
  const shown = all ? entries : entries.slice(0, Math.max(SHOWN, failed));
  const rows = shown.map(({ group, name, maxAbs, relNorm, ok }) => [
    `  ${ok ? 'ok' : 'FAIL'}`,
    `${group}/${printable(name)}`,
    `max ${scientific(maxAbs)}`,
    `rel ${scientific(relNorm)}`,
  ]);
  const rest = entries.length - shown.length;
  return [title, ...(rows.length > 0 ? [table(rows)] : []), ...(rest > 0 ? [`  and ${rest} smaller errors`] : [])].join(
    '\n',
  );
}
